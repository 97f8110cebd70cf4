// Winograd's F(2×2, 3×3) and its sums of taps: part of isa_kernels.inc.h.

// One line of Bᵀd: four of a patch's values.
inline void patch_line(Vec a, Vec b, Vec c, Vec d, Vec* to, int step) {
  to[0] = a - c, to[step] = b + c, to[2 * step] = c - b, to[3 * step] = b - d;
}
// One line of Gg: three of a filter's values to four.
inline void filter_line(Vec a, Vec b, Vec c, Vec* to, int step) {
  const Vec ends = a + c;
  to[0] = a, to[step] = 0.5f * (ends + b), to[2 * step] = 0.5f * (ends - b), to[3 * step] = c;
}

void winograd_input(const float* const* pixels, int64_t channels, float* to, const int64_t* places) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    const int64_t left = channels - c;
    Vec d[16], rows[16], v[16];
    if (left >= kLanes)
      for (int i = 0; i < 16; i++) d[i] = load(pixels[i] + c);
    else
      for (int i = 0; i < 16; i++) d[i] = load_part(pixels[i] + c, left);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) patch_line(d[j], d[4 + j], d[8 + j], d[12 + j], rows + j, 4);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
      patch_line(rows[4 * i], rows[4 * i + 1], rows[4 * i + 2], rows[4 * i + 3], v + 4 * i, 1);
    if (left >= kLanes)
      for (int i = 0; i < 16; i++) store(to + places[i] + c, v[i]);
    else
      for (int i = 0; i < 16; i++) store_part(to + places[i] + c, v[i], left);
  }
}

template <class Number>
void winograd_weights_of(const Number* taps, int64_t step, int64_t depth, float* to, int64_t to_step) {
  const int64_t n = depth * kColumns;
  for (int64_t k = 0; k < n; k += kLanes) {
    Vec rows[12], u[16];
#pragma GCC unroll 3
    for (int j = 0; j < 3; j++)
      filter_line(load_number(taps + j * step + k), load_number(taps + (3 + j) * step + k),
                  load_number(taps + (6 + j) * step + k), rows + j, 3);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) filter_line(rows[3 * i], rows[3 * i + 1], rows[3 * i + 2], u + 4 * i, 1);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) store(to + i * to_step + k, u[i]);
  }
}

void winograd_weights(Element from, const void* taps, int64_t step, int64_t depth, float* to,
                      int64_t to_step) {
  switch (from) {
    case Element::f16:
      return winograd_weights_of(static_cast<const Half*>(taps), step, depth, to, to_step);
    case Element::bf16:
      return winograd_weights_of(static_cast<const Brain*>(taps), step, depth, to, to_step);
    default:
      return winograd_weights_of(static_cast<const float*>(taps), step, depth, to, to_step);
  }
}

void winograd_output(float* sums, int64_t step, int64_t columns) {
  for (int64_t j = 0; j < columns; j += kLanes) {
    Vec rows[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      const Vec a = load(sums + i * step + j), b = load(sums + (4 + i) * step + j);
      const Vec c = load(sums + (8 + i) * step + j), d = load(sums + (12 + i) * step + j);
      rows[i] = a + b + c, rows[4 + i] = b - c - d;
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
      const Vec* r = rows + 4 * i;
      store(sums + 2 * i * step + j, r[0] + r[1] + r[2]);
      store(sums + (2 * i + 1) * step + j, r[1] - r[2] - r[3]);
    }
  }
}
