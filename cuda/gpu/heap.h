// A device's memory, within a budget.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime.h"

namespace latent_edge::gpu {

// Made on the device's thread; allocate() is called there alone. What another thread releases is given back when the
// device's thread next comes by, as that can mean to wait for what runs.
class Heap {
 public:
  // `budget`: bytes; 0 for all that the device has.
  Heap(std::shared_ptr<Runtime> runtime, size_t budget);
  ~Heap();
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  // 256-byte aligned. Throws OutOfMemory naming `purpose`, what is asked for and what is left.
  void* allocate(size_t bytes, const std::string& purpose);
  void release(void* data, size_t bytes);

  Runtime& runtime() const { return *runtime_; }

 private:
  void give_back();

  const std::shared_ptr<Runtime> runtime_;
  const size_t budget_;
  const std::thread::id thread_ = std::this_thread::get_id();
  std::mutex mutex_;
  size_t held_ = 0;
  std::vector<std::pair<void*, size_t>> released_;  // by other threads
};

// Device memory that counts towards an account for as long as it lives.
class Memory {
 public:
  Memory() = default;
  // Throws OutOfMemory naming `purpose`. `counter` outlives it.
  Memory(std::shared_ptr<Heap> heap, size_t bytes, const std::string& purpose, std::atomic<int64_t>* counter);
  ~Memory() { reset(); }
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept;

  void reset();
  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<Heap> heap_;
  char* data_ = nullptr;
  size_t bytes_ = 0;
  std::atomic<int64_t>* counter_ = nullptr;
};

// The host's memory that copies to and from the device are made with.
class HostMemory {
 public:
  HostMemory() = default;
  HostMemory(std::shared_ptr<Heap> heap, size_t bytes)
      : heap_(std::move(heap)),
        data_(static_cast<char*>(heap_->runtime().allocate_host(bytes))),
        bytes_(bytes) {}
  ~HostMemory() { reset(); }
  HostMemory(HostMemory&& other) noexcept { *this = std::move(other); }
  HostMemory& operator=(HostMemory&& other) noexcept;

  void reset();
  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::shared_ptr<Heap> heap_;
  char* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace latent_edge::gpu
