// What the kernels of products share: where a tile's operands lie, and how its sums leave.
#pragma once

#include "gemm.h"

namespace latent_edge::gpu {

// Element (row, 16-byte chunk) of a stage of rows of 32 16-bit elements.
__device__ __forceinline__ int swizzled(int row, int chunk) {
  return row * kSlab + ((chunk ^ (row >> 1)) & 3) * 8;
}

// Where in the left operand a slab lies. Slabs are visited in order.
template <class T>
struct Slab {
  int tap_y, tap_x, index;  // index: within the tap

  __device__ Slab(const Patches<T>& p, int slab) {
    const int per_tap = p.slabs_of_tap(), tap = slab / per_tap;
    index = slab - tap * per_tap;
    tap_y = tap / p.kw, tap_x = tap - tap_y * p.kw;
  }
  __device__ void next(const Patches<T>& p) {
    if (++index < p.slabs_of_tap()) return;
    index = 0;
    if (++tap_x == p.kw) tap_x = 0, tap_y++;
  }
};

// One row of the left operand: where its window begins.
template <class T>
struct Row {
  int64_t image;  // in pixels of the sources
  int y, x;
  bool inside;

  __device__ void begin(const Patches<T>& p, int64_t m) {
    inside = m < p.rows;
    if (p.kh * p.kw == 1 && p.stride == 1 && p.shift == 0 && p.top == 0 && p.left == 0) {
      image = m, y = x = 0;  // the pixel itself
      return;
    }
    const int64_t line = m / p.out_width;
    x = static_cast<int>(m - line * p.out_width) * p.stride - p.left;
    const int64_t n = line / p.out_height;
    y = static_cast<int>(line - n * p.out_height) * p.stride - p.top;
    image = n * p.height * p.width;
  }
  // Channel `c` of the slab's source under this row; null outside of the image or the source.
  __device__ const T* at(const Patches<T>& p, const Slab<T>& s, int c) const {
    const bool second = s.index >= p.slabs1();
    const int channels = second ? p.c2 : p.c1;
    c += (second ? s.index - p.slabs1() : s.index) * kSlab;
    const int iy = y + s.tap_y, ix = x + s.tap_x;
    if (!inside || c >= channels || iy < 0 || iy >= p.in_height || ix < 0 || ix >= p.in_width) return nullptr;
    const int64_t pixel = image + static_cast<int64_t>(iy >> p.shift) * p.width + (ix >> p.shift);
    return (second ? p.x2 : p.x) + pixel * channels + c;
  }
  __device__ int left_of(const Patches<T>& p, const Slab<T>& s, int c) const {  // channels from c on
    const bool second = s.index >= p.slabs1();
    return (second ? p.c2 - (s.index - p.slabs1()) * kSlab : p.c1 - s.index * kSlab) - c;
  }
};

// A tile's sums with their biases in shared memory, so that threads can finish them in rows of eight columns.
template <int kM, int kN>
struct Sums {
  float at[kM][kN + 8];

  // A fragment's: sum[n][2h + j] is at row `row` + 8h and column `column` + 8n + j of the tile.
  template <int kCount>
  __device__ __forceinline__ void put(int row, int column, const float (&sum)[kCount][4], const float* bias,
                                      int column0, int packed) {
    Vec<float, 2> add[kCount] = {};  // all of them on their way before the first is used
    if (bias)
#pragma unroll
      for (int n = 0; n < kCount; n++) {
        const int to = column0 + column + n * 8;
        if (packed % 2 == 0 && to < packed)
          add[n] = load<Vec<float, 2>>(bias + to);
        else
          for (int j = 0; j < 2; j++) add[n].at[j] = to + j < packed ? bias[to + j] : 0;
      }
#pragma unroll
    for (int n = 0; n < kCount; n++)
#pragma unroll
      for (int h = 0; h < 2; h++)
        store(&at[row + h * 8][column + n * 8],
              Vec<float, 2>{{sum[n][2 * h] + add[n].at[0], sum[n][2 * h + 1] + add[n].at[1]}});
  }
};

// Row `row` + 8h of a fragment, from column `column` on, to a row of `packed` sums.
template <int kCount>
__device__ __forceinline__ void write_sums(float* to, int packed, int column, const float (&sum)[kCount][4],
                                           int h) {
  const bool even = packed % 2 == 0;
#pragma unroll
  for (int n = 0; n < kCount; n++, column += 8) {
    if (even && column < packed)
      store(to + column, Vec<float, 2>{{sum[n][2 * h], sum[n][2 * h + 1]}});
    else
      for (int j = 0; j < 2; j++)
        if (column + j < packed) to[column + j] = sum[n][2 * h + j];
  }
}

// A fragment's sums to this split's part of `partial`, [splits][rows][packed].
template <class T, int kCount>
__device__ __forceinline__ void write_partial(const Product<T>& p, float* partial, int64_t row0, int column0,
                                              const float (&sum)[kCount][4]) {
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int64_t row = row0 + h * 8;
    if (row < p.left.rows)
      write_sums(partial + (blockIdx.y * p.left.rows + row) * p.packed, p.packed, column0, sum, h);
  }
}

// y of a tile, once all its sums are there. The loops are not unrolled, and what becomes of a sum is chosen around
// them: each block comes here once, and code for every activation of every element would fill the instruction caches (it
// took 50 µs on an H100). `before`: room in shared memory for the tile's residual, so that all of it is on its way at
// once; or null.
template <class T, int kM, int kN, int kThreads>
__device__ __forceinline__ void finish_tile(const Product<T>& p, const Sums<kM, kN>& sums, T* before,
                                            int64_t row0, int column0) {
  const Finish<T>& f = p.finish;
  const bool geglu = f.activation == Activation::geglu;
  const int shift = geglu ? 1 : 0, first = column0 >> shift, vectors = kN / 8 >> shift;
  const int left = f.columns - first;  // columns of y from this tile on
  const int height = p.left.rows - row0 < kM ? static_cast<int>(p.left.rows - row0) : kM;
  const bool wide = f.columns % 8 == 0, prefetched = before && f.residual && wide;
  const int tid = static_cast<int>(threadIdx.x), begin_r = tid / vectors, begin_c = tid - begin_r * vectors;
  const int step_r = kThreads / vectors, step_c = kThreads - step_r * vectors;
  // use(vector, its row and column in the tile)
  const auto each = [&](auto use) {
    int r = begin_r, c = begin_c;
#pragma unroll 1
    for (int v = tid; r < height; v += kThreads) {
      if (c * 8 < left) use(v, r, c * 8);
      r += step_r, c += step_c;
      if (c >= vectors) c -= vectors, r++;
    }
  };
  const auto at = [&](int r, int c) { return (row0 + r) * f.columns + first + c; };
  if (prefetched) {
    const SharedAddress to = shared_address(before);
    each([&](int v, int r, int c) { cp_async_16<false>(to + v * 16, f.residual + at(r, c), true); });
    cp_async_commit();
    cp_async_wait<0>();
  }
  sync_block();
  const auto eight = [&](int r, int c, float(&to)[8]) {
#pragma unroll
    for (int j = 0; j < 8; j += 4) {
      const auto four = load<Vec<float, 4>>(&sums.at[r][c + j]);
#pragma unroll
      for (int i = 0; i < 4; i++) to[j + i] = four.at[i];
    }
  };
  const auto residual = [&](int v, int r, int c, int count) {
    return prefetched   ? load<Vec<T, 8>>(before + v * 8)
           : f.residual ? f.read(f.residual + at(r, c), count)
                        : Vec<T, 8>{};
  };
  if (wide && !f.scale && !f.temb && f.activation == Activation::none)
    each([&](int v, int r, int c) {
      float values[8];
      eight(r, c, values);
      Vec<T, 8> out = residual(v, r, c, 8);
#pragma unroll
      for (int j = 0; j < 8; j++) out.at[j] = from_float<T>(values[j] + to_float(out.at[j]));
      store(f.y + at(r, c), out);
    });
  else
    each([&](int v, int r, int c) {
      const int count = left - c < 8 ? left - c : 8;
      float values[8], gates[8] = {};
      eight(r, c << shift, values);
      if (geglu) eight(r, (c << shift) + 8, gates);
      f.eight(row0 + r, first + c, count, values, gates, residual(v, r, c, count));
    });
}

}  // namespace latent_edge::gpu
