// A plan bound to weights on a GPU.
//
// The plan's offsets are those of float32 tensors. Here a tensor has the storage's type, at the same fraction of the
// arena. Inputs lie behind, in places of their own: a tensor of the device that is given again is still there.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend.h"
#include "providers.h"

namespace latent_edge::gpu {

// Constructed, run and released on the device's thread.
class GpuProgram final : public Program {
 public:
  // Throws std::runtime_error naming the op and its scope.
  GpuProgram(PlanDesc plan, WeightStore& weights, std::shared_ptr<Heap> heap, std::shared_ptr<Choice> choice,
             std::shared_ptr<Account> account, CompileOptions options);
  ~GpuProgram() override { release(); }

  void run(RunRequest& request, const std::atomic<bool>& stop) override;
  void release() override;

 private:
  // A plan's tensor as it lies on the device.
  struct Placed {
    Scalar element = Scalar::f32;
    size_t offset = 0, count = 0;
    size_t bytes() const { return count * bytes_of(element); }
  };
  void place();
  Placed placed_of(const TensorRef& t) const;  // of the storage's type
  Placed resident(const TensorRef& t, size_t ops) const;
  void bind(WeightStore& weights);
  void launch(size_t op);
  void run_ops(size_t ops, const std::atomic<bool>& stop);
  void compute(RunRequest& request, const std::atomic<bool>& stop);
  void reserve(size_t bytes);
  void copy_in(const std::vector<ProgramInput>& inputs);
  bool is_in_place(const ProgramInput& input) const;
  void copy_out(std::vector<ProgramOutput>& outputs, size_t ops);
  char* at(const Placed& t) const { return arena_.data() + t.offset; }

  std::shared_ptr<Heap> heap_;
  Runtime& runtime_;
  std::shared_ptr<Choice> choice_;  // owns the libraries that steps call
  const std::shared_ptr<Account> account_;
  const CompileOptions options_;
  const Storage storage_;

  size_t ops_bytes_ = 0, arena_bytes_ = 0;  // of the arena: what ops write, and the inputs too
  std::vector<Placed> inputs_;
  std::vector<std::vector<std::weak_ptr<Tensor>>> in_place_;  // the tensors that an input's place holds
  std::vector<OpDesc> ops_;                                   // with the device's offsets
  std::vector<std::vector<Placed>> touched_;                  // by each op
  std::vector<Step> steps_;
  Memory arena_, scratch_, complaints_;
  Memory stage_;  // inputs as they came, outputs as they go home; as large as a run has needed
  Memory host_;   // the same, on the host
  std::unique_ptr<Runtime::Graph> graph_;
  bool checked_ = false;  // every op has run once
  bool released_ = false;
};

}  // namespace latent_edge::gpu
