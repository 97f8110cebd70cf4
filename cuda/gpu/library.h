// A shared library and its functions, found when it is first wanted.
#pragma once

#include <dlfcn.h>

#include <initializer_list>
#include <string>

namespace latent_edge::gpu {

class Library {
 public:
  // The first of these that there is in `folder`, which ends with a slash; empty: where the system looks.
  Library(const std::string& folder, std::initializer_list<const char*> files) {
    for (const char* file : files)
      if ((handle_ = dlopen((folder + file).c_str(), RTLD_NOW | RTLD_LOCAL))) return;
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  // The library, and every function that was asked for, is there.
  explicit operator bool() const { return handle_ && complete_; }

  // Becomes a pointer to a function of whatever type it is assigned to.
  struct Found {
    void* address;
    template <class F>
    operator F*() const {
      return reinterpret_cast<F*>(address);
    }
  };
  Found function(const char* name) {
    void* found = handle_ ? dlsym(handle_, name) : nullptr;
    complete_ = complete_ && found;
    return {found};
  }

 private:
  // Never closed: libraries of a driver's do not like to be.
  void* handle_ = nullptr;
  bool complete_ = true;
};

}  // namespace latent_edge::gpu
