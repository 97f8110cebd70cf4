// Weights in 8 bits: w ≈ scale·q, |q| ≤ 127, a scale for each output channel, symmetric, rounded to nearest. Products take q
// as floats, exactly, and the scale comes to their finished sums: nothing else of their arithmetic changes.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <vector>

namespace latent_edge {

// w, q [depth][columns]; scale [columns]. What is below 127 of the least normal number is zero.
inline void quantize_columns(const float* w, int64_t depth, int64_t columns, int8_t* q, float* scale) {
  std::fill_n(scale, columns, 0.0f);
  for (int64_t k = 0; k < depth; k++)
    for (int64_t j = 0; j < columns; j++) scale[j] = std::max(scale[j], std::fabs(w[k * columns + j]));
  std::vector<float> inverse(columns);
  for (int64_t j = 0; j < columns; j++) {
    scale[j] = scale[j] / 127 < FLT_MIN ? 0.0f : scale[j] / 127;
    inverse[j] = scale[j] > 0 ? 1 / scale[j] : 0.0f;
  }
  for (int64_t k = 0; k < depth; k++)
    for (int64_t j = 0; j < columns; j++)
      q[k * columns + j] = static_cast<int8_t>(std::lrint(w[k * columns + j] * inverse[j]));
}

}  // namespace latent_edge
