#include "buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <string>
#include <utility>

#include "error.h"

namespace latent_edge {

namespace {
constexpr size_t kHugePage = size_t{2} << 20;
}

void* allocate_aligned(size_t bytes, const char* purpose) {
  const bool large = bytes >= 2 * kHugePage;
  void* data = nullptr;
  if (posix_memalign(&data, large ? kHugePage : 64, bytes == 0 ? 64 : bytes) != 0)
    throw OutOfMemory("Not enough memory: cannot allocate " + std::to_string(bytes) + " bytes for " +
                      purpose);
#ifdef MADV_HUGEPAGE
  if (large) madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}

Buffer::Buffer(size_t bytes, const char* purpose, std::atomic<int64_t>* counter)
    : data_(static_cast<char*>(allocate_aligned(bytes, purpose))), bytes_(bytes), counter_(counter) {
  if (counter_) *counter_ += static_cast<int64_t>(bytes_);
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  if (this != &other) {
    reset();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    counter_ = std::exchange(other.counter_, nullptr);
  }
  return *this;
}

void Buffer::reset() {
  if (!data_) return;
  std::free(data_);
  if (counter_) *counter_ -= static_cast<int64_t>(bytes_);
  data_ = nullptr;
  bytes_ = 0;
}

}  // namespace latent_edge
