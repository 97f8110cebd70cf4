// attention's sizes, checked.
#pragma once

#include <cmath>

#include "check.h"

namespace latent_edge {

struct AttentionOp {
  TensorRef q, out;
  std::optional<TensorRef> kv;
  int64_t images, queries, keys, heads, size, channels;
  int64_t ld_q, ld_kv;  // elements from one token to the next
  bool causal;
  float scale;

  explicit AttentionOp(const OpDesc& op)
      : q(op.input("q")),
        out(op.output),
        kv(optional_input(op, "kv")),
        heads(op.integer("heads")),
        size(op.integer("head_size")),
        channels(heads * size),
        causal(op.flag("causal")),
        scale(
            static_cast<float>(op.attrs.count("scale") ? op.number("scale") : 1 / std::sqrt(double(size)))) {
    expect(heads >= 1 && size >= 1, "heads and head_size of at least 1", {heads, size});
    expect(q.shape.size() == 3, "q of three dimensions [B, T, C]", q.shape);
    images = q.shape[0], queries = q.shape[1], keys = queries;
    ld_q = kv ? channels : 3 * channels, ld_kv = ld_q;
    expect_shape("q", q.shape, {images, queries, ld_q});
    if (kv) {
      expect(kv->shape.size() == 3 && kv->shape[1] > 0, "kv of three dimensions [B, S, 2C]", kv->shape);
      keys = kv->shape[1], ld_kv = 2 * channels;
      expect_shape("kv", kv->shape, {images, keys, ld_kv});
    }
    expect_shape("output", out.shape, {images, queries, channels});
  }
};

}  // namespace latent_edge
