// The GPU backend: plans as kernels on one stream, captured as a graph.
#pragma once

#include "../addon/backend.h"
#include "runtime.h"

namespace latent_edge::gpu {

// Device memory that counts towards an account for as long as it lives.
class Memory {
 public:
  Memory() = default;
  // Throws OutOfMemory naming `purpose` and what is left.
  Memory(std::shared_ptr<Runtime> runtime, size_t bytes, const std::string& purpose,
         std::atomic<int64_t>* counter);
  ~Memory() { reset(); }
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept;

  void reset();
  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<Runtime> runtime_;
  char* data_ = nullptr;
  size_t bytes_ = 0;
  std::atomic<int64_t>* counter_ = nullptr;
};

class GpuTensor final : public Tensor {
 public:
  GpuTensor(std::shared_ptr<Runtime> runtime, DType dtype, Scalar element, Shape shape,
            std::shared_ptr<Account> account)
      : Tensor(dtype, std::move(shape), bytes_of(element)),
        element(element),
        account_(std::move(account)),
        memory_(std::move(runtime), bytes, "a tensor kept on the device", &account_->tensors) {}

  // nullptr once the device has been disposed.
  char* data() const { return memory_.data(); }
  void release() override { memory_.reset(); }

  const Scalar element;

 private:
  std::shared_ptr<Account> account_;
  Memory memory_;
};

// Weights of one checkpoint, packed and uploaded.
class CheckpointWeights final : public WeightStore {
 public:
  CheckpointWeights(Checkpoint& checkpoint, std::shared_ptr<Runtime> runtime,
                    std::shared_ptr<Account> account)
      : checkpoint_(checkpoint), runtime_(std::move(runtime)), account_(std::move(account)) {}
  ~CheckpointWeights() override { runtime_->release_host(staging_); }

  std::shared_ptr<const void> get(const WeightRef& ref, const std::string& form, size_t bytes,
                                  const Fill& fill) override;

  std::shared_ptr<const float> constant(const std::vector<float>& values) override;

 private:
  // Device memory with what fill(host) writes to host memory.
  std::shared_ptr<const void> upload(size_t bytes, const std::function<void(void*)>& fill);

  Checkpoint& checkpoint_;
  std::shared_ptr<Runtime> runtime_;
  std::shared_ptr<Account> account_;
  void* staging_ = nullptr;
  size_t staging_bytes_ = 0;
};

class GpuBackend final : public Backend {
 public:
  // On the device's thread. Throws std::runtime_error.
  GpuBackend(const std::string& id, std::shared_ptr<Account> account, ThreadPool& pool);
  std::shared_ptr<Program> compile(PlanDesc plan, Checkpoint& weights, CompileOptions options) override;

 private:
  std::shared_ptr<Runtime> runtime_;
  std::shared_ptr<Account> account_;
  ThreadPool& pool_;
};

}  // namespace latent_edge::gpu
