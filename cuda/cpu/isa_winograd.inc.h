// Winograd's F(4×4, 3×3), and what is like them after an upsampling: part of isa_kernels.inc.h.
//
// One line of each transform: Bᵀd of a patch's values and Aᵀm of the points' sums, with vectors `step` apart, and of Gg, of
// a filter's three, the number at one point.

// Of the polynomials' points 0, ±p, ±q, ∞: with the usual 1 and 2 rounding errors are larger. What the weights are to be
// divided by at each point is left to the outputs, which are made once for all channels.
struct F4 {
  static constexpr int kOutputs = 4, kInputs = 6, kPoints = 6;
  static constexpr int kValueAt[kPoints] = {0, 1, 2, 3, 4, 5};
  static constexpr float p = 0.625f, q = 1.5f, p2 = p * p, q2 = q * q;

  static inline void input(const Vec* d, Vec* to, int step) {
    to[0] = d[4] - (p2 + q2) * d[2] + (p2 * q2) * d[0];
    const Vec even_p = d[4] - q2 * d[2], odd_p = p * (d[3] - q2 * d[1]);
    const Vec even_q = d[4] - p2 * d[2], odd_q = q * (d[3] - p2 * d[1]);
    to[step] = even_p + odd_p, to[2 * step] = even_p - odd_p;
    to[3 * step] = even_q + odd_q, to[4 * step] = even_q - odd_q;
    to[5 * step] = d[5] - (p2 + q2) * d[3] + (p2 * q2) * d[1];
  }
  static inline Vec weights(int point, Vec a, Vec b, Vec c) {
    constexpr float x[] = {0, p, -p, q, -q};
    return point == 5 ? c : point == 0 ? a : (a + (x[point] * x[point]) * c) + x[point] * b;
  }
  static inline void output(const Vec* m, Vec* to, int step) {
    constexpr float n0 = 1 / (p2 * q2), np = 1 / (2 * p2 * (p2 - q2)), nq = 1 / (2 * q2 * (q2 - p2));
    const Vec even_p = np * (m[1] + m[2]), odd_p = (np * p) * (m[1] - m[2]);
    const Vec even_q = nq * (m[3] + m[4]), odd_q = (nq * q) * (m[3] - m[4]);
    to[0] = n0 * m[0] + even_p + even_q;
    to[step] = odd_p + odd_q;
    to[2 * step] = p2 * even_p + q2 * even_q;
    to[3 * step] = p2 * odd_p + q2 * odd_q + m[5];
  }
};

// Four outputs over the middle ones of four pixels, each of which stands for two:
//   y₀ = a·d₀ + (b + c)·d₁, y₁ = (a + b)·d₁ + c·d₂, y₂ = a·d₁ + (b + c)·d₂, y₃ = (a + b)·d₂ + c·d₃
// by five products, in which nothing but signs and halves occurs. They are F4's of the doubled pixels with p = 1, whose
// value at −1 is then 0, and q = i: both values at ±i are multiples of d₂ − d₁, and the products with a − c ± i·b are
// those with a − c and with b.
struct Doubled {
  static constexpr int kOutputs = 4, kInputs = 4, kPoints = 5;
  static constexpr int kValueAt[kPoints] = {0, 1, 2, 2, 3};

  static inline void input(const Vec* d, Vec* to, int step) {
    to[0] = d[2] - d[0], to[step] = d[1] + d[2], to[2 * step] = d[2] - d[1], to[3 * step] = d[3] - d[1];
  }
  static inline Vec weights(int point, Vec a, Vec b, Vec c) {
    return point == 0 ? a : point == 1 ? a + b + c : point == 2 ? a - c : point == 3 ? b : c;
  }
  static inline void output(const Vec* m, Vec* to, int step) {
    const Vec less = 0.5f * (m[1] - m[3]), more = 0.5f * (m[1] + m[3]), half = 0.5f * m[2];
    to[0] = less + half - m[0], to[step] = less - half;
    to[2 * step] = more - half, to[3 * step] = more + half + m[4];
  }
};

// `n` channels from c on: a vector, or with Part what is left. Column by column, so that registers hold what they can.
template <class F, bool Part>
inline void winograd_input_at(const float* const* pixels, int64_t c, int64_t n, float* to,
                              const int64_t* places) {
  constexpr int D = F::kInputs;
  Vec columns[D * D], v[D];
#pragma GCC unroll 6
  for (int j = 0; j < D; j++) {
#pragma GCC unroll 6
    for (int i = 0; i < D; i++)
      v[i] = Part ? load_part(pixels[i * D + j] + c, n) : load(pixels[i * D + j] + c);
    F::input(v, columns + j, D);
  }
#pragma GCC unroll 6
  for (int i = 0; i < D; i++) {
    F::input(columns + i * D, v, 1);
#pragma GCC unroll 6
    for (int j = 0; j < D; j++) {
      float* at = to + places[i * D + j] + c;
      if (Part)
        store_part(at, v[j], n);
      else
        store(at, v[j]);
    }
  }
}

template <class F>
void winograd_input(const float* const* pixels, int64_t channels, float* to, const int64_t* places) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) winograd_input_at<F, false>(pixels, c, kLanes, to, places);
  if (c < channels) winograd_input_at<F, true>(pixels, c, channels - c, to, places);
}

template <class F, class Number>
void winograd_weights_of(const Number* taps, int64_t step, int64_t depth, float* to, int64_t to_step) {
  constexpr int P = F::kPoints;
  const int64_t n = depth * kColumns;
  for (int64_t k = 0; k < n; k += kLanes) {
    Vec g[9];
#pragma GCC unroll 9
    for (int i = 0; i < 9; i++) g[i] = load_number(taps + i * step + k);
#pragma GCC unroll 6
    for (int i = 0; i < P; i++) {
      const Vec left = F::weights(i, g[0], g[3], g[6]), middle = F::weights(i, g[1], g[4], g[7]),
                right = F::weights(i, g[2], g[5], g[8]);
#pragma GCC unroll 6
      for (int j = 0; j < P; j++) store(to + (i * P + j) * to_step + k, F::weights(j, left, middle, right));
    }
  }
}

template <class F>
void winograd_weights(Element from, const void* taps, int64_t step, int64_t depth, float* to,
                      int64_t to_step) {
  switch (from) {
    case Element::f16:
      return winograd_weights_of<F>(static_cast<const Half*>(taps), step, depth, to, to_step);
    case Element::bf16:
      return winograd_weights_of<F>(static_cast<const Brain*>(taps), step, depth, to, to_step);
    case Element::i8:
      return winograd_weights_of<F>(static_cast<const int8_t*>(taps), step, depth, to, to_step);
    default:
      return winograd_weights_of<F>(static_cast<const float*>(taps), step, depth, to, to_step);
  }
}

template <class F>
void winograd_output(const float* sums, int64_t step, float* to, int64_t to_step) {
  constexpr int P = F::kPoints, M = F::kOutputs;
  for (int k = 0; k < kColumns; k += kLanes) {
    Vec rows[M * P], m[P], y[M];
#pragma GCC unroll 6
    for (int j = 0; j < P; j++) {
#pragma GCC unroll 6
      for (int i = 0; i < P; i++) m[i] = load(sums + (i * P + j) * step + k);
      F::output(m, rows + j, P);
    }
#pragma GCC unroll 4
    for (int i = 0; i < M; i++) {
      F::output(rows + i * P, y, 1);
#pragma GCC unroll 4
      for (int j = 0; j < M; j++) store(to + (i * M + j) * to_step + k, y[j]);
    }
  }
}

template <class F>
constexpr WinogradLoops winograd_of() {
  return {F::kOutputs,       F::kInputs,          F::kPoints,        F::kValueAt,
          winograd_input<F>, winograd_weights<F>, winograd_output<F>};
}
