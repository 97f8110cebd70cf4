// zero_conv's sizes, checked.
#pragma once

#include "check.h"

namespace latent_edge {

struct ZeroConvOp {
  TensorRef x, scale, out;
  std::optional<TensorRef> onto;
  int64_t images, pixels, channels, out_channels, level;

  explicit ZeroConvOp(const OpDesc& op)
      : x(op.input("x")),
        scale(op.input("scale")),
        out(op.output),
        onto(optional_input(op, "onto")),
        level(op.integer("level")) {
    const Shape& s = x.shape;
    expect(s.size() == 4, "x of four dimensions [N, H, W, C]", s);
    images = s[0], pixels = s[1] * s[2], channels = s[3];
    const Shape& w = op.weight("weight").shape;
    expect(w.size() == 2 && w[1] == channels, "weight [O, " + std::to_string(channels) + "]", w);
    out_channels = w[0];
    expect_shape("bias", op.weight("bias").shape, {out_channels});
    expect(scale.shape.size() == 2 && scale.shape[1] == images, "scale [R, " + std::to_string(images) + "]",
           scale.shape);
    expect(level >= 0 && level < scale.shape[0], "level in a scale of as many rows", scale.shape);
    expect_shape("output", out.shape, {images, s[1], s[2], out_channels});
    if (onto) expect_shape("onto", onto->shape, out.shape);
  }
};

}  // namespace latent_edge
