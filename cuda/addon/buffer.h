// 64-byte aligned memory that counts towards an account for as long as it lives.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace latent_edge {

// Memory aligned for any vector load, for std::free; large blocks on huge pages where the system has them.
// Throws OutOfMemory naming `purpose` where there is not enough. Zero bytes give a valid pointer.
void* allocate_aligned(size_t bytes, const char* purpose);

class Buffer {
 public:
  Buffer() = default;
  // `counter` outlives the buffer; nullptr: not counted.
  Buffer(size_t bytes, const char* purpose, std::atomic<int64_t>* counter);
  ~Buffer() { reset(); }
  Buffer(Buffer&& other) noexcept { *this = static_cast<Buffer&&>(other); }
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void reset();
  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  char* data_ = nullptr;
  size_t bytes_ = 0;
  std::atomic<int64_t>* counter_ = nullptr;
};

}  // namespace latent_edge
