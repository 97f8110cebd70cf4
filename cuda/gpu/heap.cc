#include "heap.h"

#include <algorithm>

#include "../addon/error.h"

namespace latent_edge::gpu {

Heap::Heap(std::shared_ptr<Runtime> runtime, size_t budget)
    : runtime_(std::move(runtime)),
      budget_(budget == 0 ? runtime_->total_bytes() : std::min(budget, runtime_->total_bytes())) {}

Heap::~Heap() {
  give_back();
}

void* Heap::allocate(size_t bytes, const std::string& purpose) {
  give_back();
  const std::lock_guard lock(mutex_);
  const size_t left = budget_ - std::min(budget_, held_);
  if (bytes <= left)
    if (void* data = runtime_->allocate(bytes)) {
      held_ += bytes;
      return data;
    }
  const size_t free = std::min(left, runtime_->free_bytes());
  throw OutOfMemory("Not enough memory on the device: cannot allocate " + std::to_string(bytes) +
                    " bytes for " + purpose + ", " + std::to_string(free) + " of " + std::to_string(budget_) +
                    " are free");
}

void Heap::release(void* data, size_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    released_.emplace_back(data, bytes);
  }
  if (std::this_thread::get_id() == thread_) give_back();
}

void Heap::give_back() {
  std::vector<std::pair<void*, size_t>> blocks;
  {
    const std::lock_guard lock(mutex_);
    blocks.swap(released_);
    for (const auto& [data, bytes] : blocks) held_ -= bytes;
  }
  for (const auto& [data, bytes] : blocks) runtime_->release(data);
}

Memory::Memory(std::shared_ptr<Heap> heap, size_t bytes, const std::string& purpose,
               std::atomic<int64_t>* counter)
    : heap_(std::move(heap)),
      data_(static_cast<char*>(heap_->allocate(bytes, purpose))),
      bytes_(bytes),
      counter_(counter) {
  if (counter_) *counter_ += static_cast<int64_t>(bytes_);
}

Memory& Memory::operator=(Memory&& other) noexcept {
  if (this != &other) {
    reset();
    heap_ = std::move(other.heap_);
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    counter_ = std::exchange(other.counter_, nullptr);
  }
  return *this;
}

void Memory::reset() {
  if (!data_) return;
  heap_->release(data_, bytes_);
  if (counter_) *counter_ -= static_cast<int64_t>(bytes_);
  data_ = nullptr;
  bytes_ = 0;
  heap_.reset();
}

HostMemory& HostMemory::operator=(HostMemory&& other) noexcept {
  if (this != &other) {
    reset();
    heap_ = std::move(other.heap_);
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

void HostMemory::reset() {
  if (!data_) return;
  heap_->runtime().release_host(data_);
  data_ = nullptr;
  bytes_ = 0;
  heap_.reset();
}

}  // namespace latent_edge::gpu
