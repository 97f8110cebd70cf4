// A plan bound to weights: the CPU executor, a loop over the plan's ops.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "../addon/program.h"
#include "../addon/scratch.h"
#include "kernel.h"

namespace latent_edge {

// Constructed, run and released on the device's thread.
class CpuProgram final : public Program {
 public:
  // `arenas` and `scratch`: the device's, which outlive it. Throws std::runtime_error naming the op and its scope.
  CpuProgram(PlanDesc plan, WeightStore& weights, ThreadPool& pool, Scratch& arenas, Scratch& scratch,
             std::shared_ptr<Account> account, CompileOptions options);

  void run(RunRequest& request, const std::atomic<bool>& stop) override;

  void release() override;

 private:
  void round(const TensorRef& output, char* arena);
  void copy_in(const std::vector<ProgramInput>& inputs, char* arena);
  void copy_out(std::vector<ProgramOutput>& outputs, const char* arena) const;

  ThreadPool& pool_;
  Scratch& arenas_;
  Scratch& scratch_;
  std::shared_ptr<Account> account_;
  CompileOptions options_;
  std::vector<std::unique_ptr<Step>> steps_;
  Scratch::Claim arena_claim_, scratch_claim_;
  bool released_ = false;
};

}  // namespace latent_edge
