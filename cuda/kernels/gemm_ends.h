// How a tile's sums begin and end in fragments of registers, without shared memory (gemm_tma.cu): bias, residual and time
// embedding are what they begin with; rows of y, and of GEGLUs, are what they end as. 16 bytes a lane of 16-bit types.
#pragma once

#include "gemm.h"

namespace latent_edge::gpu {
namespace {

// Of four lanes that have a row: pairs of columns from fragments of eight, one of each of four, become the eight columns of
// one, lane q's those of fragment q; and the other way round.
__device__ __forceinline__ void turn(uint32_t (&v)[4]) {
  const bool odd = lane() & 1, high = lane() & 2;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const uint32_t other = shuffle_xor(odd ? v[i] : v[i + 1], 1);
    v[i] = odd ? other : v[i];
    v[i + 1] = odd ? v[i + 1] : other;
  }
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const uint32_t other = shuffle_xor(high ? v[i] : v[i + 2], 2);
    v[i] = high ? other : v[i];
    v[i + 2] = high ? v[i + 2] : other;
  }
}

// What is added to a row of y lies in `from`, or nowhere: the eight columns of this lane's fragment of each four.
template <class T, int kGroups>
__device__ __forceinline__ void load_row(Vec<uint32_t, 4> (&to)[kGroups], const T* from, int column0,
                                         int columns) {
#pragma unroll
  for (int g = 0; g < kGroups; g++) {
    const int column = column0 + (g * 4 + lane() % 4) * 8;
    to[g] = {};
    if (from && column < columns) to[g] = load<Vec<uint32_t, 4>>(from + column);
  }
}
template <class T, int kCount>
__device__ __forceinline__ void add_row(float (&sum)[kCount][4], Vec<uint32_t, 4> (&row)[kCount / 4], int h) {
#pragma unroll
  for (int n = 0; n < kCount; n++) {
    if (n % 4 == 0) turn(row[n / 4].at);
    float low, high;
    unpack2<T>(row[n / 4].at[n % 4], low, high);
    sum[n][2 * h] += low, sum[n][2 * h + 1] += high;
  }
}

// What the sums of 64 rows begin with. `row`: of y, of a fragment's upper and lower half; less than 0: none. All lanes
// come here. kAhead: halves whose residuals are on their way at once, as far as there are registers.
template <int kAhead, class T, int kCount>
__device__ __forceinline__ void begin_sums(const Finish<T>& f, const int (&row)[2], int column0, int packed,
                                           float (&sum)[kCount][4]) {
  const auto residual = [&](int row) {
    return row < 0 ? nullptr : f.residual + static_cast<int64_t>(row) * f.columns;
  };
  const auto temb = [&](int row) {
    return row < 0 ? nullptr : f.temb + static_cast<int64_t>(f.image(row)) * f.columns;
  };
  const bool any = f.residual || f.temb;
  Vec<uint32_t, 4> add[kAhead][kCount / 4];
  if (any)
#pragma unroll
    for (int h = 0; h < kAhead; h++)
      load_row(add[h], f.residual ? residual(row[h]) : temb(row[h]), column0, f.columns);
#pragma unroll
  for (int n = 0; n < kCount; n++) {
    const int column = column0 + n * 8 + lane() % 4 * 2;
    Vec<float, 2> bias{};
    if (f.bias && column < packed) bias = load<Vec<float, 2>>(f.bias + column);
#pragma unroll
    for (int i = 0; i < 4; i++) sum[n][i] = bias.at[i % 2];
  }
  if (!any) return;
#pragma unroll
  for (int h = 0; h < 2; h++) {
    auto& these = add[h % kAhead];
    if (h >= kAhead) load_row(these, f.residual ? residual(row[h]) : temb(row[h]), column0, f.columns);
    add_row<T>(sum, these, h);
    if (!f.residual || !f.temb) continue;
    load_row(these, temb(row[h]), column0, f.columns);
    add_row<T>(sum, these, h);
  }
}

// 64 rows' fragments to y. All lanes come here.
template <class T, int kCount>
__device__ __forceinline__ void write_rows(const Finish<T>& f, const int (&row)[2], int column0,
                                           const float (&sum)[kCount][4]) {
  const int q = lane() % 4;
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int n = 0; n < kCount; n += 4) {
      uint32_t v[4];
#pragma unroll
      for (int i = 0; i < 4; i++) v[i] = pack2<T>(sum[n + i][2 * h], sum[n + i][2 * h + 1]);
      turn(v);
      const int column = column0 + (n + q) * 8;
      if (row[h] >= 0 && column < f.columns)
        store(f.y + static_cast<int64_t>(row[h]) * f.columns + column,
              Vec<uint32_t, 4>{{v[0], v[1], v[2], v[3]}});
    }
}

// The same of values and gates. The loop is rolled, and sums move on in their registers: its code, unrolled, took longer to
// fetch than to run.
template <class T, int kCount>
__device__ __forceinline__ void write_gated_rows(const Finish<T>& f, const int (&row)[2], int column0,
                                                 float (&sum)[kCount][4]) {
  // Lanes 0 and 1 of four have the upper row's columns, the others the lower one's.
  const int to = lane() & 2 ? row[1] : row[0];
  int column = column0 / 2 + lane() % 2 * 8;
  constexpr int kStep = kCount % 8 == 0 ? 8 : 4;
#pragma unroll 1
  for (int n = 0; n < kCount; n += kStep) {
#pragma unroll
    for (int k = 0; k < kStep; k += 4, column += 16) {
      uint32_t v[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int at = k + i % 2 * 2, h = i / 2;
        float y[2];
#pragma unroll
        for (int j = 0; j < 2; j++) y[j] = sum[at][2 * h + j] * gelu_fast(sum[at + 1][2 * h + j]);
        v[i] = pack2<T>(y[0], y[1]);
      }
      turn(v);
      if (to >= 0 && column < f.columns)
        store(f.y + static_cast<int64_t>(to) * f.columns + column,
              Vec<uint32_t, 4>{{v[0], v[1], v[2], v[3]}});
    }
#pragma unroll
    for (int i = 0; i + kStep < kCount; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) sum[i][j] = sum[i + kStep][j];
  }
}

}  // namespace
}  // namespace latent_edge::gpu
