// timestep_embedding's sizes, checked, and its frequencies.
#pragma once

#include <cmath>
#include <vector>

#include "check.h"

namespace latent_edge {

struct TimestepEmbeddingOp {
  TensorRef t, out;
  int64_t batch, dim;
  bool flip;
  std::vector<float> frequencies;  // f_i

  explicit TimestepEmbeddingOp(const OpDesc& op)
      : t(op.input("t")), out(op.output), dim(op.integer("dim")), flip(op.flag("flip_sin_to_cos")) {
    expect(t.shape.size() == 1, "t [B]", t.shape);
    expect(dim >= 2, "dim of at least 2", {dim});
    batch = t.shape[0];
    expect_shape("output", out.shape, {batch, dim});
    frequencies.resize(static_cast<size_t>(dim / 2));
    const float log_period = static_cast<float>(-std::log(op.number("max_period")));
    const float span = static_cast<float>(static_cast<double>(dim / 2) - op.number("freq_shift"));
    for (size_t i = 0; i < frequencies.size(); i++) {
      const float exponent = log_period * static_cast<float>(i);
      frequencies[i] = static_cast<float>(std::exp(static_cast<double>(exponent / span)));
    }
  }
};

}  // namespace latent_edge
