#include "heap.h"

#include <algorithm>

#include "../addon/error.h"

namespace latent_edge::gpu {

namespace {

// What is kept when it is released: blocks of at most so much, in all at most so much.
constexpr size_t kSmall = size_t{4} << 20, kMostSpare = size_t{128} << 20;

}  // namespace

Heap::Heap(std::shared_ptr<Runtime> runtime, size_t budget)
    : runtime_(std::move(runtime)),
      budget_(budget == 0 ? runtime_->total_bytes() : std::min(budget, runtime_->total_bytes())) {}

Heap::~Heap() {
  take_back();
  drop_spare();
}

void* Heap::allocate(size_t bytes, const std::string& purpose) {
  take_back();
  if (void* data = spare(bytes)) return data;
  for (;;) {
    if (bytes <= budget_ - std::min(budget_, held_))
      if (void* data = runtime_->allocate(bytes)) {
        held_ += bytes;
        return data;
      }
    if (spare_.empty()) break;
    drop_spare();
  }
  const size_t free = std::min(budget_ - std::min(budget_, held_), runtime_->free_bytes());
  throw OutOfMemory("Not enough memory on the device: cannot allocate " + std::to_string(bytes) +
                    " bytes for " + purpose + ", " + std::to_string(free) + " of " + std::to_string(budget_) +
                    " are free");
}

void Heap::release(void* data, size_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    released_.emplace_back(data, bytes);
  }
  if (std::this_thread::get_id() == thread_) take_back();
}

void Heap::take_back() {
  std::vector<std::pair<void*, size_t>> blocks;
  {
    const std::lock_guard lock(mutex_);
    blocks.swap(released_);
  }
  for (const auto& [data, bytes] : blocks) {
    if (bytes <= kSmall && spare_bytes_ + bytes <= kMostSpare) {
      runtime_->expose({data, bytes}, {});
      spare_.emplace(bytes, data);
      spare_bytes_ += bytes;
    } else {
      held_ -= bytes;
      runtime_->release(data);
    }
  }
}

void* Heap::spare(size_t bytes) {
  const auto found = spare_.find(bytes);
  if (found == spare_.end()) return nullptr;
  void* const data = found->second;
  spare_.erase(found);
  spare_bytes_ -= bytes;
  runtime_->expose({data, bytes}, {{data, bytes}});
  return data;
}

void Heap::drop_spare() {
  for (const auto& [bytes, data] : spare_) runtime_->release(data);
  held_ -= spare_bytes_;
  spare_bytes_ = 0;
  spare_.clear();
}

Memory::Memory(std::shared_ptr<Heap> heap, size_t bytes, const std::string& purpose,
               std::atomic<int64_t>* counter)
    : Memory(heap->allocate(bytes, purpose), bytes, [heap, bytes, counter](char* data) {
        heap->release(data, bytes);
        *counter -= static_cast<int64_t>(bytes);
      }) {
  *counter += static_cast<int64_t>(bytes);
}

Memory Memory::on_host(std::shared_ptr<Heap> heap, size_t bytes) {
  void* const data = heap->runtime().allocate_host(bytes);
  return {data, bytes, [heap](char* data) { heap->runtime().release_host(data); }};
}

}  // namespace latent_edge::gpu
