// Sizes of activation and affine, checked.
#pragma once

#include "check.h"

namespace latent_edge {

struct ActivationOp {
  TensorRef x, out;
  Activation activation;

  explicit ActivationOp(const OpDesc& op)
      : x(op.input("x")), out(op.output), activation(activation_of(op.text("fn", ""))) {
    expect_shape("output", out.shape, x.shape);
    if (activation == Activation::geglu)
      fail("expected fn silu, gelu, quick_gelu, relu or tanh, received geglu");
  }
};

struct AffineOp {
  TensorRef x, out;
  double scale, shift;

  explicit AffineOp(const OpDesc& op)
      : x(op.input("x")), out(op.output), scale(op.number("scale")), shift(op.number("shift")) {
    expect_shape("output", out.shape, x.shape);
  }
};

}  // namespace latent_edge
