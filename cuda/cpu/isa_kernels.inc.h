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
static_assert(LE_DEPTH % 32 == 0 && LE_DEPTH <= kRowStride);

typedef float Vec __attribute__((vector_size(4 * LE_LANES)));
typedef int32_t Int __attribute__((vector_size(4 * LE_LANES)));
typedef uint32_t Unsigned __attribute__((vector_size(4 * LE_LANES)));
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

#include "isa_math.inc.h"
#include "isa_norms.inc.h"
#include "isa_numbers.inc.h"
#include "isa_tile.inc.h"
#include "isa_tile_finish.inc.h"
#include "isa_winograd.inc.h"

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
      const Vec p = exp2_below(load(s + j * kColumns + v) - highest);
      store(s + j * kColumns + v, p);
      sum += p;
    }
    if (!first) {
      const Vec correction = exp2_below(before - highest);
      sum += load(total + v) * correction;
      for (int64_t d = 0; d < size; d++)
        store(out + d * kColumns + v, load(out + d * kColumns + v) * correction);
    }
    store(total + v, sum);
  }
}

void strassen_sums(float* products, int64_t step, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    Vec m[7];
#pragma GCC unroll 7
    for (int p = 0; p < 7; p++) m[p] = load(products + p * step + i);
    store(products + i, (m[0] + m[3]) + (m[6] - m[4]));
    store(products + step + i, m[2] + m[4]);
    store(products + 2 * step + i, m[1] + m[3]);
    store(products + 3 * step + i, (m[0] - m[1]) + (m[2] + m[5]));
  }
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
const Isa LE_CONCAT(kIsa, LE_ISA) = {
    LE_ISA_NAME, kLanes,          kRows,        kColumns,      LE_DEPTH,          tile,
    power_tile,  widen,           widen_sum,    strassen_sums, winograd_of<F4>(), winograd_of<Doubled>(),
    finish,      softmax_columns, channel_sums, normalize,     layer_norm_row,    activate};

}  // namespace latent_edge
