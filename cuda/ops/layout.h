// Sizes of to_nhwc and to_nchw, checked.
#pragma once

#include "check.h"

namespace latent_edge {

struct ToNhwcOp {
  TensorRef x, out;
  int64_t images, channels, pixels;

  explicit ToNhwcOp(const OpDesc& op) : x(op.input("x")), out(op.output) {
    const Shape& s = x.shape;
    expect(s.size() == 4, "x of four dimensions [N, C, H, W]", s);
    expect_shape("output", out.shape, {s[0], s[2], s[3], s[1]});
    images = s[0], channels = s[1], pixels = s[2] * s[3];
  }
};

struct ToNchwOp {
  TensorRef x, out;
  int64_t images, channels, pixels;
  int64_t from = 0, count;  // the channels that y has

  explicit ToNchwOp(const OpDesc& op) : x(op.input("x")), out(op.output) {
    const Shape& s = x.shape;
    expect(s.size() == 4, "x of four dimensions [N, H, W, C]", s);
    images = s[0], pixels = s[1] * s[2], channels = count = s[3];
    if (const auto range = op.integers("channels"); !range.empty()) {
      expect(range.size() == 2 && 0 <= range[0] && range[0] < range[1] && range[1] <= s[3],
             "channels [from, to) within 0…" + std::to_string(s[3]), range);
      from = range[0], count = range[1] - range[0];
    }
    expect_shape("output", out.shape, {images, count, s[1], s[2]});
  }
};

}  // namespace latent_edge
