// The tensors of a checkpoint, in files or in memory, converted and packed when an op first asks for them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../cpu/kernel.h"
#include "account.h"
#include "buffer.h"
#include "convert.h"
#include "mapped_file.h"
#include "resource.h"

namespace latent_edge {

struct WeightSource {
  std::string name;
  Element element = Element::f32;
  Shape shape;
  std::string file;  // empty: in `data`
  size_t offset = 0;
  bool transposed = false;  // the file has [K, N] where `shape` is [N, K]
  std::vector<float> data;
};

// Used from the device's thread alone, but for construction and destruction.
class Weights final : public WeightStore, public Resource {
 public:
  Weights(std::shared_ptr<Account> account, ThreadPool& pool) : account_(std::move(account)), pool_(pool) {}
  ~Weights() override { release(); }

  // Maps the files and checks that each tensor lies within its own. Throws std::runtime_error naming the
  // tensor.
  void load(std::vector<WeightSource> sources);

  // Throws std::runtime_error naming the tensor that is missing, of another shape, or not finite.
  std::shared_ptr<const PackedWeight> get(const WeightRef& ref, const std::string& form, size_t floats,
                                          const std::function<void(const float*, float*)>& fill) override;

  // Frees the space that get() converts in; called when a plan has been bound.
  void drop_staging() { staging_.reset(); }

  // What plans hold stays theirs.
  void release() override;

 private:
  struct Entry {
    WeightSource source;
    std::shared_ptr<MappedFile> file;
  };

  std::vector<const Entry*> find(const WeightRef& ref) const;
  void touch(float* data, size_t floats);
  void convert(const Entry& entry, float* to);
  void transpose(const WeightSource& source, float* matrix);
  const float* joined(const std::vector<const Entry*>& entries, size_t floats);

  std::shared_ptr<Account> account_;
  ThreadPool& pool_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::shared_ptr<const PackedWeight>> packed_;
  Buffer staging_;
  int64_t in_memory_ = 0;
};

}  // namespace latent_edge
