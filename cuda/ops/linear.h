// linear's sizes, checked.
#pragma once

#include "check.h"

namespace latent_edge {

struct LinearOp {
  TensorRef x, out;
  std::optional<TensorRef> residual;
  Activation activation;
  int64_t m, n, k, out_columns;

  explicit LinearOp(const OpDesc& op)
      : x(op.input("x")),
        out(op.output),
        residual(optional_input(op, "residual")),
        activation(activation_of(op.text("activation", "none"))) {
    const Shape& w = op.weight("weight").shape;
    expect(w.size() == 2, "weight of two dimensions", w);
    n = w[0], k = w[1], m = elements(x.shape) / k;
    expect(!x.shape.empty() && x.shape.back() == k, "x of " + std::to_string(k) + " channels", x.shape);
    out_columns = activation == Activation::geglu ? n / 2 : n;
    expect(activation != Activation::geglu || n % 2 == 0, "weight of an even number of rows for geglu", w);
    Shape want = x.shape;
    want.back() = out_columns;
    expect_shape("output", out.shape, want);
    if (const WeightRef* bias = op.find_weight("bias")) expect_shape("bias", bias->shape, {n});
    if (residual) expect_shape("residual", residual->shape, want);
  }
};

}  // namespace latent_edge
