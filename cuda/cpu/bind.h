// Checks that the ops share.
#pragma once

#include <optional>

#include "isa.h"
#include "kernel.h"

namespace latent_edge {

[[noreturn]] inline void fail(const std::string& message) {
  throw std::runtime_error(message);
}

inline void expect(bool ok, const std::string& what, const Shape& got) {
  if (!ok) fail("expected " + what + ", received " + to_string(got));
}
inline void expect_shape(const char* what, const Shape& got, const Shape& want) {
  expect(got == want, std::string(what) + " " + to_string(want), got);
}

inline std::optional<TensorRef> optional_input(const OpDesc& op, const char* name) {
  const TensorRef* t = op.find_input(name);
  return t ? std::optional<TensorRef>(*t) : std::nullopt;
}

inline Activation activation_of(const std::string& name) {
  if (name == "none") return Activation::none;
  if (name == "silu") return Activation::silu;
  if (name == "gelu") return Activation::gelu;
  if (name == "quick_gelu") return Activation::quick_gelu;
  if (name == "geglu") return Activation::geglu;
  if (name == "relu") return Activation::relu;
  if (name == "tanh") return Activation::tanh;
  fail("expected activation none, silu, gelu, quick_gelu, geglu, relu or tanh, received " + name);
}

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
