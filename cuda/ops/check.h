// Checks that the ops share, and what they have in common.
#pragma once

#include <optional>
#include <stdexcept>

#include "op.h"

namespace latent_edge {

enum class Activation { none, silu, gelu, quick_gelu, geglu, relu, tanh };

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

}  // namespace latent_edge
