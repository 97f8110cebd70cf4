// embedding's sizes, checked.
#pragma once

#include "check.h"

namespace latent_edge {

struct EmbeddingOp {
  TensorRef ids, out;
  std::optional<TensorRef> learned;
  int64_t batch, tokens, channels;
  int64_t vocabulary, rows;  // of the weight, and with those of `learned`

  explicit EmbeddingOp(const OpDesc& op)
      : ids(op.input("ids")), out(op.output), learned(optional_input(op, "learned")) {
    const Shape &w = op.weight("weight").shape, &p = op.weight("position").shape;
    expect(ids.dtype == DType::i32 && ids.shape.size() == 2, "int32 ids [B, T]", ids.shape);
    batch = ids.shape[0], tokens = ids.shape[1];
    expect(w.size() == 2, "weight [V, C]", w);
    rows = vocabulary = w[0], channels = w[1];
    if (learned) {
      expect(learned->shape.size() == 2 && learned->shape[1] == channels,
             "learned [E, " + std::to_string(channels) + "]", learned->shape);
      rows += learned->shape[0];
    }
    expect(p.size() == 2 && p[0] >= tokens && p[1] == channels,
           "position [at least " + std::to_string(tokens) + ", " + std::to_string(channels) + "]", p);
    expect_shape("output", out.shape, {batch, tokens, channels});
  }

  std::string outside(int32_t id) const {
    return "expected token ids in 0…" + std::to_string(rows - 1) + ", received " + std::to_string(id);
  }
};

}  // namespace latent_edge
