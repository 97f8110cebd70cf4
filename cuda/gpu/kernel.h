// What an op's GPU file provides, and what it may use. One file an op, kernels/NAME.cu; registration at its end.
// Free of CUDA's headers: the executor is plain C++.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../addon/convert.h"
#include "../cpu/kernel.h"
#include "../ops/check.h"

namespace latent_edge::gpu {

// The type in which a program keeps activations and matrices; sums are in float32 whatever it is.
using Storage = Element;

// A CUDA stream, or the emulator's.
struct OpaqueStream;
using Stream = OpaqueStream*;

// Types of values in device memory.
enum class Scalar { f16, bf16, f32, i32 };

// Packed weights in device memory, shared by the plans of a checkpoint.
class WeightStore {
 public:
  // Enqueues what makes `packed` of the whole joined tensor, which lies in device memory row-major, in the checkpoint's
  // layout, as values of `type`.
  using Pack = std::function<void(Stream stream, const void* raw, Scalar type, void* packed)>;
  virtual ~WeightStore() = default;
  // `form` names the layout; the same (names, form) is packed once, to `bytes`.
  virtual std::shared_ptr<const void> get(const WeightRef& ref, const std::string& form, size_t bytes,
                                          const Pack& pack) = 0;
  // Numbers of an op's own, in device memory.
  virtual std::shared_ptr<const float> constant(const std::vector<float>& values) = 0;
};

// What a launch can count on.
struct Chip {
  int multiprocessors = 1;
  size_t shared_bytes = 0;  // most that a block may have
  bool warpgroups = false;  // runs sm_90a's instructions, and this build has them
};

class Choice;  // providers.h

struct BindContext {
  Storage storage;
  Chip chip;
  WeightStore& weights;
  Choice& choice;      // of who computes a product
  char* arena;         // tensors lie at their offsets from here
  int32_t* complaint;  // of this op: what a kernel found wrong in its inputs; 0 before each run

  template <class T>
  T* at(const TensorRef& t) const {
    return reinterpret_cast<T*>(arena + t.offset);
  }
  template <class T>
  T* at(const std::optional<TensorRef>& t) const {
    return t ? at<T>(*t) : nullptr;
  }
};

// An op bound to its tensors and weights: what is launched at every run. `launch` holds the weights.
struct Step {
  std::function<void(Stream stream, char* scratch)> launch;
  size_t scratch_bytes = 0;                               // shared by all steps of a plan, 256-byte aligned
  std::function<std::string(int32_t)> explain = nullptr;  // what a complaint other than 0 means
};

// Checks shapes and attributes, packs weights. Throws std::runtime_error; the caller adds the op's name and scope.
using Bind = Step (*)(const OpDesc&, BindContext&);

struct Kernel {
  Bind bind;
  // Inputs that stay float32 whatever the storage, as their values need it. They are inputs of the plan.
  std::vector<std::string> float_inputs = {};
};

// Every op of the GPU backend by name (kernels/registry.cc lists them).
const std::map<std::string, Kernel>& kernels();

// to[i] = from[i] in another type, or the same; at any alignment of their elements. kernels/convert.cu
void convert(Stream stream, const void* from, Scalar from_type, void* to, Scalar to_type, size_t n);

inline Scalar scalar_of(Storage s) {
  return s == Storage::f16 ? Scalar::f16 : s == Storage::bf16 ? Scalar::bf16 : Scalar::f32;
}
inline size_t bytes_of(Scalar e) {
  return e == Scalar::f16 || e == Scalar::bf16 ? 2 : 4;
}

}  // namespace latent_edge::gpu
