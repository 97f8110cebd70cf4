// The GPU backend: plans as kernels on one stream, captured as a graph.
#pragma once

#include "../addon/backend.h"
#include "heap.h"

namespace latent_edge::gpu {

class GpuTensor final : public Tensor {
 public:
  GpuTensor(std::shared_ptr<Heap> heap, DType dtype, Scalar element, Shape shape,
            std::shared_ptr<Account> account)
      : Tensor(dtype, std::move(shape), bytes_of(element)),
        element(element),
        account_(std::move(account)),
        memory_(std::move(heap), bytes, "a tensor kept on the device", &account_->tensors) {}

  // nullptr once the device has been disposed.
  char* data() const { return memory_.data(); }
  void release() override { memory_.reset(); }

  const Scalar element;

 private:
  std::shared_ptr<Account> account_;
  Memory memory_;
};

class Choice;

class GpuBackend final : public Backend {
 public:
  // On the device's thread. `memory_bytes`: at most so much of the device's. Throws std::runtime_error.
  GpuBackend(const std::string& id, size_t memory_bytes, const OpenOptions& options,
             std::shared_ptr<Account> account, ThreadPool& pool);
  std::shared_ptr<Program> compile(PlanDesc plan, Checkpoint& weights, CompileOptions options) override;
  std::map<std::string, std::string> choices() const override;

 private:
  std::shared_ptr<Heap> heap_;
  std::shared_ptr<Account> account_;
  std::shared_ptr<Choice> choice_;
  ThreadPool& pool_;
};

}  // namespace latent_edge::gpu
