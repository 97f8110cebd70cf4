// A plan bound to weights: the CPU executor.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint.h"
#include "convert.h"
#include "plan.h"
#include "scratch.h"
#include "tensor.h"

namespace latent_edge {

struct ProgramInput {
  size_t index = 0;  // into plan().inputs
  std::vector<char> data;
  std::shared_ptr<Tensor> tensor;  // instead of data
};

struct ProgramOutput {
  std::string name;
  TensorRef ref;
  bool keep = false;  // as a tensor
  std::vector<float> data;
  std::shared_ptr<Tensor> tensor;
};

struct RunRequest {
  std::vector<ProgramInput> inputs;    // each of the plan's
  std::vector<ProgramOutput> outputs;  // filled in by the run
  size_t ops = 0;                      // how many of the plan's to run
};

struct CompileOptions {
  bool reference = false;        // plain kernels
  bool poison = false;           // NaN in the arena and scratch before each run
  Element dtype = Element::f32;  // what each op's output is rounded to
};

// Constructed, run and released on the device's thread.
class Program final : public Resource {
 public:
  // Throws std::runtime_error naming the op and its scope.
  Program(PlanDesc plan, WeightStore& weights, ThreadPool& pool, Scratch& scratch,
          std::shared_ptr<Account> account, CompileOptions options);

  const PlanDesc& plan() const { return plan_; }

  // Throws std::runtime_error naming the op; a run that `stop` interrupts between two ops throws too.
  void run(RunRequest& request, const std::atomic<bool>& stop);

  void release() override;

 private:
  void round(const TensorRef& output);
  void copy_in(const std::vector<ProgramInput>& inputs);
  void copy_out(std::vector<ProgramOutput>& outputs) const;

  PlanDesc plan_;
  ThreadPool& pool_;
  Scratch& scratch_;
  std::shared_ptr<Account> account_;
  CompileOptions options_;
  std::vector<std::unique_ptr<Step>> steps_;
  Buffer arena_;
  Scratch::Claim claim_;
  bool released_ = false;
};

}  // namespace latent_edge
