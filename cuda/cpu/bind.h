// What the CPU ops share.
#pragma once

#include <optional>

#include "../ops/check.h"
#include "isa.h"
#include "kernel.h"

namespace latent_edge {

// Plain scalar functions of the reference kernels.
double reference_activation(double x, Activation a);

inline float* floats(char* arena, const TensorRef& t) {
  return reinterpret_cast<float*>(arena + t.offset);
}
inline float* floats(char* arena, const std::optional<TensorRef>& t) {
  return t ? floats(arena, *t) : nullptr;
}

// A Kernel of two Step classes constructed from (op, context).
template <class Fast, class Reference>
constexpr Kernel kernel_of() {
  return {
      [](const OpDesc& op, BindContext& c) -> std::unique_ptr<Step> { return std::make_unique<Fast>(op, c); },
      [](const OpDesc& op, BindContext& c) -> std::unique_ptr<Step> {
        return std::make_unique<Reference>(op, c);
      }};
}

}  // namespace latent_edge
