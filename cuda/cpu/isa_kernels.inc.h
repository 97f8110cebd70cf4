// The vector loops, written once over GCC's portable vectors and included by one file for each instruction
// set.
//
// Everything here has internal linkage and no standard template is used: an inline function compiled for
// AVX-512 must not be the copy that the linker keeps for a machine without it.

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "isa.h"

namespace latent_edge {
namespace {

constexpr int kLanes = LE_LANES;
constexpr int kRows = LE_ROWS;
constexpr int kColumns = 2 * kLanes;

typedef float Vec __attribute__((vector_size(4 * LE_LANES)));
typedef int32_t Int __attribute__((vector_size(4 * LE_LANES)));
typedef float Loose __attribute__((vector_size(4 * LE_LANES), aligned(4), may_alias));

inline Vec load(const float* p) {
  return *reinterpret_cast<const Loose*>(p);
}
inline void store(float* p, Vec v) {
  *reinterpret_cast<Loose*>(p) = v;
}
inline Vec all(float x) {
  return x - Vec{};
}
inline Vec max(Vec a, Vec b) {
  return a > b ? a : b;
}
// NaN stays NaN.
inline Vec clamp(Vec x, Vec low, Vec high) {
  const Vec y = x < low ? low : x;
  return y > high ? high : y;
}

// The first n lanes; the others are zero.
inline Vec load_part(const float* p, int64_t n) {
  Vec v = {};
  memcpy(&v, p, static_cast<size_t>(n) * 4);
  return v;
}
inline void store_part(float* p, Vec v, int64_t n) {
  memcpy(p, &v, static_cast<size_t>(n) * 4);
}

inline float sum(Vec v) {
  float s = 0;
  for (int i = 0; i < kLanes; i++) s += v[i];
  return s;
}

// e^r and n of y = n·ln2 + r, |r| ≤ ln2/2: a degree-6 polynomial (Taylor's, its last terms refitted).
inline Vec exp_parts(Vec y, Int* n_of) {
  const Vec magic = all(12582912.0f);  // 1.5·2²³: adding it rounds to a whole number
  const Vec shifted = y * 1.44269504f + magic;
  const Vec n = shifted - magic;
  const Vec r = (y - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  *n_of = __builtin_convertvector(n, Int);
  return p * r * r + r + 1.0f;
}

constexpr float kLowestExponent = -87.33654f;

// eˣ to 1 ulp or so. Below −87.3 the result is 0, so that −∞ is a mask.
inline Vec exp(Vec x) {
  const Vec low = all(kLowestExponent);
  Int bits;
  const Vec p = exp_parts(clamp(x, low, all(88.72283f)), &bits);
  // In two halves: 2¹²⁸ does not fit into one exponent.
  const Int half = bits >> 1;
  const Int first = (half + 127) << 23, second = (bits - half + 127) << 23;
  const Vec result = p * (Vec)first * (Vec)second;
  return x < low ? Vec{} : result;
}

// The same of x ≤ 0.
inline Vec exp_below(Vec x) {
  const Vec low = all(kLowestExponent);
  Int bits;
  const Vec p = exp_parts(x < low ? low : x, &bits);
  return x < low ? Vec{} : p * (Vec)((bits + 127) << 23);
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

// --- weights ---------------------------------------------------------------------------------------------

// Numbers of 16 bits as they lie in memory.
struct Half {
  uint16_t bits;
};
struct Brain {
  uint16_t bits;
};

typedef uint16_t Bits __attribute__((vector_size(2 * LE_LANES), aligned(2), may_alias));
typedef int8_t Bytes __attribute__((vector_size(LE_LANES), aligned(1), may_alias));

inline Vec load_number(const float* p) {
  return load(p);
}
// Finite ones.
inline Vec load_number(const Half* p) {
#if LE_LANES == 16
  return (Vec)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif LE_LANES == 8
  return (Vec)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#else
  const Int bits = __builtin_convertvector(*reinterpret_cast<const Bits*>(p), Int);
  const Int magnitude = (bits & 0x7fff) << 13, one = Int{} + (113 << 23);
  // Subnormals by subtraction, which holds in any rounding or flush mode.
  const Int small = (Int)((Vec)(magnitude + one) - (Vec)one), normal = magnitude + (112 << 23);
  return (Vec)((magnitude < (1 << 23) ? small : normal) | ((bits & 0x8000) << 16));
#endif
}
inline Vec load_number(const Brain* p) {
  return (Vec)(__builtin_convertvector(*reinterpret_cast<const Bits*>(p), Int) << 16);
}
inline Vec load_number(const int8_t* p) {
#if LE_LANES == 16
  const Int q = (Int)_mm512_maskz_cvtepi8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#elif LE_LANES == 8
  const Int q = (Int)_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
#else
  const Int q = __builtin_convertvector(*reinterpret_cast<const Bytes*>(p), Int);
#endif
  return __builtin_convertvector(q, Vec);
}

template <class Number>
void widen_of(const Number* from, float* to, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) store(to + i, load_number(from + i));
}
void widen(Element element, const void* from, float* to, int64_t n) {
  switch (element) {
    case Element::f16:
      return widen_of(static_cast<const Half*>(from), to, n);
    case Element::bf16:
      return widen_of(static_cast<const Brain*>(from), to, n);
    case Element::i8:
      return widen_of(static_cast<const int8_t*>(from), to, n);
    default:
      return widen_of(static_cast<const float*>(from), to, n);
  }
}

// --- matrix product --------------------------------------------------------------------------------------

template <int M>
void tile_of(int64_t depth, const float* a, const float* b, float* c, int64_t ldc, bool accumulate) {
  constexpr int V = kColumns / kLanes;
  Vec acc[M][V];
#pragma GCC unroll 16
  for (int i = 0; i < M; i++)
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) acc[i][v] = Vec{};
#pragma GCC unroll 2
  for (int64_t k = 0; k < depth; k++) {
    Vec right[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) right[v] = load(b + k * kColumns + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      const Vec left = all(a[i * kRowStride + k]);
#pragma GCC unroll 2
      for (int v = 0; v < V; v++) acc[i][v] += left * right[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; i++)
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) {
      float* p = c + i * ldc + v * kLanes;
      store(p, accumulate ? load(p) + acc[i][v] : acc[i][v]);
    }
}

typedef void (*Tile)(int64_t, const float*, const float*, float*, int64_t, bool);

void tile(int m, int64_t depth, const float* a, const float* b, float* c, int64_t ldc, bool accumulate) {
  static const Tile by_rows[] = {
    tile_of<1>,
    tile_of<2>,
    tile_of<3>,
    tile_of<4>,
    tile_of<5>,
    tile_of<6>,
#if LE_ROWS > 6
    tile_of<7>,
    tile_of<8>,
    tile_of<9>,
    tile_of<10>,
    tile_of<11>,
    tile_of<12>,
#endif
#if LE_ROWS > 12
    tile_of<13>,
    tile_of<14>,
#endif
  };
  by_rows[m - 1](depth, a, b, c, ldc, accumulate);
}

void finish_geglu(const float* c, int64_t ldc, int64_t rows, int64_t cols, float* out, int64_t ld_out,
                  const Epilogue& e) {
  for (int64_t i = 0; i < rows; i++) {
    for (int64_t j = 0; j < cols; j += kColumns) {
      const float* p = c + i * ldc + j;
      Vec value = load(p), gate = load(p + kLanes);
      if (e.scale) value *= load(e.scale + j), gate *= load(e.scale + j + kLanes);
      if (e.bias) value += load(e.bias + j), gate += load(e.bias + j + kLanes);
      Vec y = value * gelu(gate);
      const int64_t left = (cols - j) / 2;
      float* o = out + i * ld_out + j / 2;
      if (left >= kLanes) {
        if (e.residual) y += load(e.residual + i * ld_out + j / 2);
        store(o, y);
      } else {
        if (e.residual) y += load_part(e.residual + i * ld_out + j / 2, left);
        store_part(o, y, left);
      }
    }
  }
}

void finish(const float* c, int64_t ldc, int64_t rows, int64_t cols, float* out, int64_t ld_out,
            const Epilogue& e) {
  if (e.activation == Activation::geglu) return finish_geglu(c, ldc, rows, cols, out, ld_out, e);
  for (int64_t i = 0; i < rows; i++) {
    for (int64_t j = 0; j < cols; j += kLanes) {
      const int64_t left = cols - j;
      Vec y = load(c + i * ldc + j);
      if (e.scale) y *= load(e.scale + j);
      if (left >= kLanes) {
        if (e.bias) y += load(e.bias + j);
        if (e.shift) y += load(e.shift + j);
        y = apply(y, e.activation);
        if (e.residual) y += load(e.residual + i * ld_out + j);
        store(out + i * ld_out + j, y);
      } else {
        if (e.bias) y += load_part(e.bias + j, left);
        if (e.shift) y += load_part(e.shift + j, left);
        y = apply(y, e.activation);
        if (e.residual) y += load_part(e.residual + i * ld_out + j, left);
        store_part(out + i * ld_out + j, y, left);
      }
    }
  }
}

#include "isa_winograd.inc.h"

// --- softmax ---------------------------------------------------------------------------------------------

void softmax_columns(float* s, int64_t rows, float* maximum, float* total, float* out, int64_t size,
                     bool first) {
  for (int v = 0; v < kColumns; v += kLanes) {
    const Vec before = load(maximum + v);
    // Two at a time, so that one does not wait for the other.
    Vec highest = before, other = before;
    int64_t j = 0;
    for (; j + 2 <= rows; j += 2) {
      highest = max(highest, load(s + j * kColumns + v));
      other = max(other, load(s + (j + 1) * kColumns + v));
    }
    if (j < rows) highest = max(highest, load(s + j * kColumns + v));
    highest = max(highest, other);
    store(maximum + v, highest);
    Vec sum = {};
    for (j = 0; j < rows; j++) {
      const Vec p = exp_below(load(s + j * kColumns + v) - highest);
      store(s + j * kColumns + v, p);
      sum += p;
    }
    if (!first) {
      const Vec correction = exp_below(before - highest);
      sum += load(total + v) * correction;
      for (int64_t d = 0; d < size; d++)
        store(out + d * kColumns + v, load(out + d * kColumns + v) * correction);
    }
    store(total + v, sum);
  }
}

// --- normalisation ---------------------------------------------------------------------------------------

void channel_sums(const float* x, int64_t ld, int64_t positions, int64_t channels, const float* origin,
                  float* sums, float* squares) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    const Vec o = load(origin + c);
    Vec s = {}, q = {};
    for (int64_t p = 0; p < positions; p++) {
      const Vec d = load(x + p * ld + c) - o;
      s += d;
      q += d * d;
    }
    store(sums + c, load(sums + c) + s);
    store(squares + c, load(squares + c) + q);
  }
  for (; c < channels; c++) {
    float s = 0, q = 0;
    for (int64_t p = 0; p < positions; p++) {
      const float d = x[p * ld + c] - origin[c];
      s += d;
      q += d * d;
    }
    sums[c] += s;
    squares[c] += q;
  }
}

void normalize(const float* x, int64_t ld_x, float* y, int64_t ld_y, int64_t positions, int64_t channels,
               const float* mean, const float* scale, const float* shift, bool with_silu) {
  for (int64_t p = 0; p < positions; p++) {
    const float* from = x + p * ld_x;
    float* to = y + p * ld_y;
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) {
      const Vec v = (load(from + c) - load(mean + c)) * load(scale + c) + load(shift + c);
      store(to + c, with_silu ? silu(v) : v);
    }
    if (c < channels) {
      const int64_t left = channels - c;
      const Vec centred = load_part(from + c, left) - load_part(mean + c, left);
      const Vec v = centred * load_part(scale + c, left) + load_part(shift + c, left);
      store_part(to + c, with_silu ? silu(v) : v, left);
    }
  }
}

void layer_norm_row(const float* x, float* y, int64_t channels, const float* weight, const float* bias,
                    float eps) {
  Vec s = {};
  float tail = 0;
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) s += load(x + c);
  for (; c < channels; c++) tail += x[c];
  const float mean = (sum(s) + tail) / static_cast<float>(channels);
  Vec q = {};
  tail = 0;
  for (c = 0; c + kLanes <= channels; c += kLanes) {
    const Vec d = load(x + c) - mean;
    q += d * d;
  }
  for (; c < channels; c++) tail += (x[c] - mean) * (x[c] - mean);
  const float scale = 1.0f / sqrtf((sum(q) + tail) / static_cast<float>(channels) + eps);
  for (c = 0; c + kLanes <= channels; c += kLanes)
    store(y + c, (load(x + c) - mean) * scale * load(weight + c) + load(bias + c));
  for (; c < channels; c++) y[c] = (x[c] - mean) * scale * weight[c] + bias[c];
}

void activate(const float* x, float* y, int64_t n, Activation a) {
  int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) store(y + j, apply(load(x + j), a));
  if (j < n) store_part(y + j, apply(load_part(x + j, n - j), a), n - j);
}

}  // namespace

#define LE_CONCAT_(a, b) a##b
#define LE_CONCAT(a, b) LE_CONCAT_(a, b)
extern const Isa LE_CONCAT(kIsa, LE_ISA);
const Isa LE_CONCAT(kIsa, LE_ISA) = {LE_ISA_NAME,
                                     kLanes,
                                     kRows,
                                     kColumns,
                                     tile,
                                     widen,
                                     winograd_of<F2>(),
                                     winograd_of<F4>(),
                                     winograd_of<Doubled>(),
                                     finish,
                                     softmax_columns,
                                     channel_sums,
                                     normalize,
                                     layer_norm_row,
                                     activate};

}  // namespace latent_edge
