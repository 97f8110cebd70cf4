// Sizes of repeat, checked.
#pragma once

#include "check.h"

namespace latent_edge {

struct RepeatOp {
  TensorRef x, out;
  int64_t images, times;
  int64_t size;  // elements of one image

  explicit RepeatOp(const OpDesc& op) : x(op.input("x")), out(op.output) {
    const Shape& s = x.shape;
    expect(s.size() >= 2, "x of at least two dimensions [N, ..., C]", s);
    times = op.integer("times");
    expect(times >= 1, "times from 1 on", {times});
    expect(out.shape.size() == s.size() && out.shape[0] / times == s[0] && out.shape[0] % times == 0,
           "output of " + std::to_string(times) + " times as many images as x " + to_string(s), out.shape);
    images = s[0], size = elements(s) / images;
    Shape whole = s;
    whole[0] = out.shape[0];
    expect_shape("output", out.shape, whole);
  }
};

}  // namespace latent_edge
