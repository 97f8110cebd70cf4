// Memory of an emulated device. In a build with AddressSanitizer what lies outside of it is reported, to the byte.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace latent_edge::emulator {

// Null where there is not enough. Aligned as cudaMalloc aligns, unless more is asked for.
inline void* allocate(size_t bytes, size_t align = 256) {
  const size_t rounded = (bytes + align - 1) / align * align;
  void* data = std::aligned_alloc(align, rounded == 0 ? align : rounded);
  if (data) ASAN_POISON_MEMORY_REGION(static_cast<char*>(data) + bytes, rounded - bytes);
  return data;
}
inline void release(void* data) {
  std::free(data);
}

class Memory {
 public:
  explicit Memory(size_t bytes, size_t align = 256) : data_(static_cast<char*>(allocate(bytes, align))) {
    if (!data_) throw std::bad_alloc();
  }
  ~Memory() { release(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  char* data() const { return data_; }

 private:
  char* data_;
};

}  // namespace latent_edge::emulator
