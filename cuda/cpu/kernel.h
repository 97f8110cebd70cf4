// What an op's CPU file provides, and what it may use. One file an op; registration at the file's end.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "../addon/convert.h"
#include "../ops/op.h"

namespace latent_edge {

// 64-byte aligned numbers that count towards the device's account.
struct PackedWeight {
  float* data = nullptr;
  size_t bytes = 0;
  Element element = Element::f32;  // else `data` points to numbers of 16 bits, or what eight_bits.h makes
  ~PackedWeight();
};

// Weights of a checkpoint. `form` names the layout; the same (names, form) is packed once and shared by all
// plans.
class WeightStore {
 public:
  virtual ~WeightStore() = default;
  // fill(raw, packed): raw is the whole joined tensor as float32, row-major, in the checkpoint's layout.
  virtual std::shared_ptr<const PackedWeight> get(const WeightRef& ref, const std::string& form,
                                                  size_t floats,
                                                  const std::function<void(const float*, float*)>& fill) = 0;
  // The same with numbers as the files have them, `count` of them, of 16 bits where that is all they have and
  // nothing is added to them: fill(element, raw, packed). The caller widens them when it computes. With `as` what
  // is packed is of that type, whatever the raw numbers are.
  virtual std::shared_ptr<const PackedWeight> get_narrow(
      const WeightRef& ref, const std::string& form, size_t count,
      const std::function<void(Element, const void*, void*)>& fill,
      std::optional<Element> as = std::nullopt) = 0;
  // Whether products are to pack the weight in 8 bits.
  virtual bool in_eight_bits(const WeightRef& ref) const = 0;
  // The tensor as it is, in float32.
  std::shared_ptr<const PackedWeight> raw(const WeightRef& ref) {
    const size_t n = static_cast<size_t>(elements(ref.shape));
    return get(ref, "raw", n, [n](const float* src, float* dst) { std::copy(src, src + n, dst); });
  }
};

// Runs body(i) for i in [0, n), on all threads; returns when all are done. Not reentrant.
class ThreadPool {
 public:
  virtual ~ThreadPool() = default;
  virtual int threads() const = 0;
  // body(index, thread): thread in [0, threads()) is the same within one call of body.
  virtual void parallel_for(int64_t n, const std::function<void(int64_t, int)>& body) = 0;
};

// An op bound to its weights. Thread-compatible: run() is only called from the device's one thread.
class Step {
 public:
  virtual ~Step() = default;
  virtual size_t scratch_bytes() const { return 0; }  // shared by all steps of a device, 64-byte aligned
  virtual void run(char* arena, char* scratch, ThreadPool& pool) const = 0;
};

struct BindContext {
  WeightStore& weights;
  ThreadPool& pool;  // to pack on, and the one that run() will get
};

// Checks shapes and attributes, packs weights. Throws std::runtime_error; the caller adds the op's name and
// scope.
using Bind = std::unique_ptr<Step> (*)(const OpDesc&, BindContext&);

struct Kernel {
  Bind fast, reference;
};

// Every op of the CPU backend by name (registry.cc lists them).
const std::map<std::string, Kernel>& cpu_kernels();

}  // namespace latent_edge
