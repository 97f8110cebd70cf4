// quantize's sizes, checked.
#pragma once

#include "check.h"

namespace latent_edge {

struct QuantizeOp {
  TensorRef x, out;
  int64_t rows, channels, entries;

  explicit QuantizeOp(const OpDesc& op) : x(op.input("x")), out(op.output) {
    const Shape& shape = op.weight("codebook").shape;
    expect(shape.size() == 2 && shape[0] > 0 && shape[1] > 0, "codebook of two dimensions", shape);
    entries = shape[0], channels = shape[1], rows = elements(x.shape) / channels;
    expect(!x.shape.empty() && x.shape.back() == channels, "x of " + std::to_string(channels) + " channels",
           x.shape);
    expect_shape("output", out.shape, x.shape);
  }
};

}  // namespace latent_edge
