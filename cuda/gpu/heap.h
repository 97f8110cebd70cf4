// A device's memory, within a budget.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime.h"

namespace latent_edge::gpu {

// Made on the device's thread; allocate() is called there alone. What another thread releases is given back when the
// device's thread next comes by. Small blocks are kept for the next of their size, as to give them back can mean to wait
// for what runs, until their memory is wanted for something else; the stream's order keeps their uses apart.
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
  void take_back();
  void drop_spare();
  void* spare(size_t bytes);

  const std::shared_ptr<Runtime> runtime_;
  const size_t budget_;
  const std::thread::id thread_ = std::this_thread::get_id();
  size_t held_ = 0, spare_bytes_ = 0;   // of the runtime's memory; of it in spare_
  std::multimap<size_t, void*> spare_;  // by bytes
  std::mutex mutex_;                    // of what follows
  std::vector<std::pair<void*, size_t>> released_;
};

// Memory that is given back when its holder goes.
class Memory {
 public:
  Memory() = default;
  // On the device. Counts towards an account, which outlives it. Throws OutOfMemory naming `purpose`.
  Memory(std::shared_ptr<Heap> heap, size_t bytes, const std::string& purpose, std::atomic<int64_t>* counter);
  // The host's, that copies to and from the device are made with.
  static Memory on_host(std::shared_ptr<Heap> heap, size_t bytes);

  void reset() { *this = Memory(); }  // lets go of the heap too
  char* data() const { return data_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  using GiveBack = std::function<void(char*)>;
  Memory(void* data, size_t bytes, GiveBack give_back)
      : data_(static_cast<char*>(data), std::move(give_back)), bytes_(bytes) {}

  std::unique_ptr<char, GiveBack> data_;
  size_t bytes_ = 0;
};

}  // namespace latent_edge::gpu
