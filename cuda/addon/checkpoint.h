// The tensors of a checkpoint, converted and packed when an op first asks for them; or a checkpoint and what
// adapters add to it, which holds only the weights that differ.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "account.h"
#include "buffer.h"
#include "delta.h"
#include "weight_source.h"

namespace latent_edge {

class Checkpoint;
using Prefixed = std::map<std::string, std::shared_ptr<Checkpoint>>;

// A weight, joined, as the files have it; or in float32 where that is not what the weight is.
struct RawWeight {
  Element element = Element::f32;
  std::vector<const WeightSource*> parts;  // one after another
  const float* values = nullptr;           // instead of parts; until the next weight is asked for
};

// Used from the device's thread alone, but for construction and destruction.
class Checkpoint final : public WeightStore {
 public:
  // Maps the files and checks that each tensor lies within its own, and that each delta fits its weight.
  // Throws BadWeights naming the tensor. With a base, which lives on at least as long, the sources
  // take the place of its weights of the same names, or add to them. Names that begin with a prefix of
  // `under` are, without it, names of the checkpoint there.
  Checkpoint(std::vector<WeightSource> sources, std::shared_ptr<Checkpoint> base, Prefixed under,
             std::vector<WeightDelta> deltas, std::shared_ptr<Account> account, ThreadPool& pool);
  ~Checkpoint() override { account_->weights -= in_memory_; }
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  // Throws BadWeights naming the tensor that is missing, of another shape, or not finite.
  std::shared_ptr<const PackedWeight> get(const WeightRef& ref, const std::string& form, size_t floats,
                                          const std::function<void(const float*, float*)>& fill) override;

  std::shared_ptr<const PackedWeight> get_narrow(const WeightRef& ref, const std::string& form, size_t count,
                                                 const std::function<void(Element, const void*, void*)>& fill,
                                                 std::optional<Element> as) override;

  bool in_eight_bits(const WeightRef& ref) const override;

  // What make(holder, ref) gives for a weight; called once for (names, form) and then shared. `ref` is the weight's
  // among `holder`'s, which is this checkpoint or one that it shares the weight with.
  using Make = std::function<std::shared_ptr<const void>(Checkpoint& holder, const WeightRef& ref)>;
  std::shared_ptr<const void> share(const WeightRef& ref, const std::string& form, const Make& make);

  // For `make`: the weight as float32, row-major, joined, until the next one is asked for; or as it is.
  const float* joined(const WeightRef& ref);
  RawWeight raw(const WeightRef& ref);

  // Frees the space that weights are converted in; called when a plan has been bound.
  void drop_staging();

 private:
  const WeightSource* find(const std::string& name) const;  // nullptr where there is none
  bool differs(const std::string& name) const;              // from the base
  // The checkpoint that has a weight which this one does not, nullptr for none, and its name there.
  std::pair<Checkpoint*, std::string> elsewhere(const std::string& name) const;
  void check(const WeightRef& ref) const;
  char* staging(size_t bytes);
  const void* joined(const RawWeight& raw, size_t count);
  std::shared_ptr<const PackedWeight> pack(size_t bytes, Element element,
                                           const std::function<void(float*)>& fill);
  void touch(char* data, size_t bytes);
  const WeightSource* plain(const std::string& name) const;  // nullptr where something is done to it
  void convert(const std::string& name, float* to);

  const std::shared_ptr<Account> account_;
  ThreadPool& pool_;
  const std::shared_ptr<Checkpoint> base_;
  const Prefixed under_;
  std::map<std::string, WeightSource> sources_;
  std::map<std::string, std::vector<WeightDelta>> deltas_;
  std::map<std::string, std::shared_ptr<const void>> packed_;
  Buffer staging_;
  int64_t in_memory_ = 0;
};

}  // namespace latent_edge
