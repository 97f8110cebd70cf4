#include "backend.h"

#include <cstring>
#include <utility>

#include "../addon/error.h"
#include "program.h"

namespace latent_edge::gpu {

Memory::Memory(std::shared_ptr<Runtime> runtime, size_t bytes, const std::string& purpose,
               std::atomic<int64_t>* counter)
    : runtime_(std::move(runtime)), bytes_(bytes), counter_(counter) {
  data_ = static_cast<char*>(runtime_->allocate(bytes));
  if (!data_)
    throw OutOfMemory("Not enough memory on the device: cannot allocate " + std::to_string(bytes) +
                      " bytes for " + purpose + ", " + std::to_string(runtime_->free_bytes()) + " of " +
                      std::to_string(runtime_->total_bytes()) + " are free");
  if (counter_) *counter_ += static_cast<int64_t>(bytes_);
}

Memory& Memory::operator=(Memory&& other) noexcept {
  if (this != &other) {
    reset();
    runtime_ = std::move(other.runtime_);
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    counter_ = std::exchange(other.counter_, nullptr);
  }
  return *this;
}

void Memory::reset() {
  if (!data_) return;
  runtime_->release(data_);
  if (counter_) *counter_ -= static_cast<int64_t>(bytes_);
  data_ = nullptr;
  bytes_ = 0;
}

std::shared_ptr<const void> CheckpointWeights::get(const WeightRef& ref, const std::string& form,
                                                   size_t bytes, const Fill& fill) {
  return checkpoint_.share(
      ref, form, [&](const float* raw) { return upload(bytes, [&](void* host) { fill(raw, host); }); });
}

std::shared_ptr<const float> CheckpointWeights::constant(const std::vector<float>& values) {
  const size_t bytes = values.size() * sizeof(float);
  auto memory = upload(bytes, [&](void* host) { std::memcpy(host, values.data(), bytes); });
  const float* data = static_cast<const float*>(memory.get());
  return {std::move(memory), data};
}

std::shared_ptr<const void> CheckpointWeights::upload(size_t bytes, const std::function<void(void*)>& fill) {
  struct Held {
    std::shared_ptr<Account> account;
    Memory memory;
  };
  auto held = std::make_shared<Held>();
  held->account = account_;
  held->memory = Memory(runtime_, bytes, "a packed weight", &account_->weights);
  if (staging_bytes_ < bytes) {
    runtime_->release_host(std::exchange(staging_, nullptr));
    staging_bytes_ = 0;
    staging_ = runtime_->allocate_host(bytes);
    staging_bytes_ = bytes;
  }
  fill(staging_);
  runtime_->copy(held->memory.data(), staging_, bytes);
  runtime_->synchronize();
  const void* data = held->memory.data();
  return {std::move(held), data};
}

GpuBackend::GpuBackend(const std::string& id, std::shared_ptr<Account> account, ThreadPool& pool)
    : runtime_(open_gpu(id)), account_(std::move(account)), pool_(pool) {}

std::shared_ptr<Program> GpuBackend::compile(PlanDesc plan, Checkpoint& weights, CompileOptions options) {
  CheckpointWeights store(weights, runtime_, account_);
  return std::make_shared<GpuProgram>(std::move(plan), store, runtime_, pool_, account_, options);
}

}  // namespace latent_edge::gpu
