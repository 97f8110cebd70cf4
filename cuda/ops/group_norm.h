// group_norm's sizes, checked.
#pragma once

#include "check.h"

namespace latent_edge {

struct GroupNormOp {
  TensorRef x, out;
  std::optional<TensorRef> x2;
  int64_t images, positions, c1, c2, channels, groups;
  double eps;
  bool silu;

  explicit GroupNormOp(const OpDesc& op)
      : x(op.input("x")),
        out(op.output),
        x2(optional_input(op, "x2")),
        groups(op.integer("groups")),
        eps(op.number("eps")),
        silu(op.flag("silu")) {
    expect(x.shape.size() >= 2, "x of at least two dimensions [N, ..., C]", x.shape);
    if (x2) expect(!x2->shape.empty(), "x2 of at least two dimensions [N, ..., C]", x2->shape);
    images = x.shape.front(), c1 = x.shape.back(), c2 = x2 ? x2->shape.back() : 0;
    positions = elements(x.shape) / (images * c1), channels = c1 + c2;
    Shape want = x.shape;
    if (x2) want.back() = c2, expect_shape("x2", x2->shape, want);
    want.back() = channels;
    expect_shape("output", out.shape, want);
    expect_shape("weight", op.weight("weight").shape, {channels});
    expect_shape("bias", op.weight("bias").shape, {channels});
    expect(groups >= 1 && channels % groups == 0,
           "groups that divide " + std::to_string(channels) + " channels", {groups});
  }
};

}  // namespace latent_edge
