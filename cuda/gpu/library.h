// A shared library and its functions, found when it is first wanted.
#pragma once

#include <dlfcn.h>

#include <initializer_list>

namespace latent_edge::gpu {

class Library {
 public:
  // The first of these that the system finds.
  explicit Library(std::initializer_list<const char*> files) {
    for (const char* file : files)
      if ((handle_ = dlopen(file, RTLD_NOW | RTLD_LOCAL))) return;
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  // The library, and every function that was asked for, is there.
  explicit operator bool() const { return handle_ && complete_; }

  template <class F>
  F* function(const char* name) {
    void* found = handle_ ? dlsym(handle_, name) : nullptr;
    complete_ = complete_ && found;
    return reinterpret_cast<F*>(found);
  }

 private:
  // Never closed: libraries of a driver's do not like to be.
  void* handle_ = nullptr;
  bool complete_ = true;
};

}  // namespace latent_edge::gpu
