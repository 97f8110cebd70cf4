// conv2d's sizes, checked.
#pragma once

#include "check.h"

namespace latent_edge {

struct Conv2dOp {
  TensorRef x, out;
  std::optional<TensorRef> x2, temb, residual;
  int64_t images, height, width, c1, c2, channels;  // of the input
  int64_t in_height, in_width;                      // after upsampling
  int64_t shift = 0;                                // 1 where it is upsampled: source = position >> shift
  int64_t kh, kw, stride, top, left, out_height, out_width, out_channels;

  explicit Conv2dOp(const OpDesc& op)
      : x(op.input("x")),
        out(op.output),
        x2(optional_input(op, "x2")),
        temb(optional_input(op, "temb")),
        residual(optional_input(op, "residual")) {
    const Shape& s = x.shape;
    expect(s.size() == 4, "x of four dimensions [N, H, W, C]", s);
    images = s[0], height = s[1], width = s[2], c1 = s[3], c2 = 0;
    if (x2) {
      expect(x2->shape.size() == 4, "x2 of four dimensions [N, H, W, C]", x2->shape);
      c2 = x2->shape[3];
      expect_shape("x2", x2->shape, {images, height, width, c2});
    }
    channels = c1 + c2;
    const Shape& w = op.weight("weight").shape;
    expect(w.size() == 4 && w[1] == channels, "weight [Cout, " + std::to_string(channels) + ", kh, kw]", w);
    out_channels = w[0], kh = w[2], kw = w[3];
    if (const WeightRef* bias = op.find_weight("bias")) expect_shape("bias", bias->shape, {out_channels});

    in_height = height, in_width = width;
    if (const auto to = op.integers("upsample"); !to.empty()) {
      expect(to.size() == 2 && (to[0] + 1) / 2 == height && (to[1] + 1) / 2 == width,
             "upsample to twice the size of x, or one less", to);
      in_height = to[0], in_width = to[1], shift = 1;
    }
    stride = op.integer("stride");
    const auto padding = op.integers("padding");
    expect(padding.size() == 4, "padding [top, left, bottom, right]", padding);
    expect(stride >= 1, "stride of at least 1", {stride});
    top = padding[0], left = padding[1];
    out_height = (in_height + top + padding[2] - kh) / stride + 1;
    out_width = (in_width + left + padding[3] - kw) / stride + 1;
    expect_shape("output", out.shape, {images, out_height, out_width, out_channels});
    if (temb) expect_shape("temb", temb->shape, {images, out_channels});
    if (residual) expect_shape("residual", residual->shape, out.shape);
  }
  int64_t pixels() const { return out_height * out_width; }
};

}  // namespace latent_edge
