// layer_norm's sizes, checked.
#pragma once

#include "check.h"

namespace latent_edge {

struct LayerNormOp {
  TensorRef x, out;
  double eps;
  int64_t rows, channels;

  explicit LayerNormOp(const OpDesc& op) : x(op.input("x")), out(op.output), eps(op.number("eps")) {
    expect(!x.shape.empty() && x.shape.back() > 0, "x of at least one dimension", x.shape);
    channels = x.shape.back(), rows = elements(x.shape) / channels;
    expect_shape("weight", op.weight("weight").shape, {channels});
    expect_shape("bias", op.weight("bias").shape, {channels});
    expect_shape("output", out.shape, x.shape);
  }
};

}  // namespace latent_edge
