// eˣ, 2ˣ, erf, tanh and the activations that are made of them, of vectors: part of isa_kernels.inc.h.

constexpr float kRounding = 12582912.0f;  // 1.5·2²³: adding it rounds to a whole number

// eˣ to 1 ulp or so, as 2ⁿ·eʳ, |r| ≤ ln2/2: a degree-6 polynomial (Taylor's, its last terms refitted). Below −87.3 the
// result is 0.
inline Vec exp(Vec x) {
  const Vec low = all(-87.33654f);
  const Vec y = clamp(x, low, all(88.72283f));
  const Vec n = (y * 1.44269504f + all(kRounding)) - all(kRounding);
  const Vec r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  // In two halves: 2¹²⁸ does not fit into one exponent.
  const Int bits = __builtin_convertvector(n, Int), half = bits >> 1;
  const Int first = (half + 127) << 23, second = (bits - half + 127) << 23;
  const Vec result = p * (Vec)first * (Vec)second;
  return x < low ? Vec{} : result;
}

#if LE_LANES >= 8
// Of i = 0 … 7, the last three bits of each: the bits of 2^(i/8) − i·2²⁰. Sixteen lanes go by four bits, hence twice.
inline Unsigned eighths(Int i) {
  alignas(64) static const uint32_t table[16] = {
      0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7, 0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7,
      0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7, 0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7,
  };
#if LE_LANES == 16
  return (Unsigned)_mm512_maskz_permutexvar_epi32(0xffff, (__m512i)i, _mm512_load_si512(table));
#else
  return (Unsigned)_mm256_permutevar8x32_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(table)),
                                               (__m256i)i);
#endif
}
// 2ˣ of |x| ≤ 125 to 1.3 ulp or so, as 2ⁿ·2^(i/8)·2ʳ, |r| ≤ 1/16.
inline Vec exp2_normal(Vec x) {
  constexpr float eighth = kRounding / 8;  // adding it rounds to a whole number of eighths
  const Vec shifted = x + all(eighth);
  const Vec r = x - (shifted - all(eighth));
  // The best of its degree with 1 at 0: 2.6e-8 off.
  Vec p = all(5.54989005e-2f);
  p = p * r + 2.4025763e-1f;
  p = p * r + 6.93147209e-1f;
  p = p * r + 1.0f;
  // n and i are in the last bits of `shifted`. To the bits of 2^(i/8), less i/8 itself, they are added as they are, to the
  // exponent and below it.
  const Unsigned power = eighths((Int)shifted) + ((Unsigned)shifted << 20);
  // A product, so that NaN stays NaN.
  return p * (Vec)power;
}
#else
// 2ˣ of |x| ≤ 125 to 1 ulp or so.
inline Vec exp2_normal(Vec x) {
  const Vec shifted = x + all(kRounding);
  const Vec r = x - (shifted - all(kRounding));
  // The best of its degree in |r| ≤ 1/2 (Remez), in parts that do not wait for each other.
  const Vec r2 = r * r;
  const Vec low = 6.9314718e-1f * r + 1.0f, middle = 5.5503286e-2f * r + 2.4022646e-1f;
  const Vec high = 1.5345812e-4f * r2 + (1.3399931e-3f * r + 9.6184891e-3f);
  const Vec p = (high * r2 + middle) * r2 + low;
  // The whole number is in the last bits of `shifted`. A product, so that NaN stays NaN.
  return p * (Vec)(((Unsigned)shifted << 23) + (127u << 23));
}
#endif
// 2ˣ of x ≤ 0. Below −125 the result is 0, so that −∞ is a mask.
inline Vec exp2_below(Vec x) {
  const Vec result = exp2_normal(x);
  return x < all(-125.0f) ? Vec{} : result;
}

// erf to about 1 ulp: an odd rational function over |x| < 4 (coefficients as in Eigen and XLA).
inline Vec erf(Vec x) {
  const Vec c = clamp(x, all(-4.0f), all(4.0f));
  const Vec s = c * c;
  Vec p = all(-2.72614225801306e-10f);
  p = p * s + 2.77068142495902e-08f;
  p = p * s - 2.10102402082508e-06f;
  p = p * s - 5.69250639462346e-05f;
  p = p * s - 7.34990630326855e-04f;
  p = p * s - 2.95459980854025e-03f;
  p = p * s - 1.60960333262415e-02f;
  Vec q = all(-1.45660718464996e-05f);
  q = q * s - 2.13374055278905e-04f;
  q = q * s - 1.68282697438203e-03f;
  q = q * s - 7.37332916720468e-03f;
  q = q * s - 1.42647390514189e-02f;
  return c * p / q;
}

inline Vec silu(Vec x) {
  return x / (1.0f + exp(-x));
}
inline Vec gelu(Vec x) {
  return 0.5f * x * (1.0f + erf(x * 0.70710678f));
}
inline Vec quick_gelu(Vec x) {
  return x / (1.0f + exp(-1.702f * x));
}

// tanh to a few ulp: an odd rational function over |x| < 7.9, beyond which it is ±1 (coefficients as in
// Eigen).
inline Vec tanh(Vec x) {
  const Vec c = clamp(x, all(-7.90531110763549805f), all(7.90531110763549805f));
  const Vec s = c * c;
  Vec p = all(-2.76076847742355e-16f);
  p = p * s + 2.00018790482477e-13f;
  p = p * s - 8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  Vec q = all(1.19825839466702e-06f);
  q = q * s + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return c * p / q;
}

inline Vec apply(Vec x, Activation a) {
  switch (a) {
    case Activation::silu:
      return silu(x);
    case Activation::gelu:
      return gelu(x);
    case Activation::quick_gelu:
      return quick_gelu(x);
    case Activation::relu:
      return x < 0.0f ? Vec{} : x;
    case Activation::tanh:
      return tanh(x);
    default:
      return x;
  }
}
