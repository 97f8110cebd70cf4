// What becomes of a product's sums where another kernel, or a library, has made them: y out of partial sums
// [splits][rows][packed]. Eight columns a thread, 16 bytes at a time, or one where columns are odd; with geglu eight
// values are followed by their eight gates. Bound by bandwidth, mostly the cache's.
#include "gemm.h"

namespace latent_edge::gpu {
namespace {

constexpr int kThreads = 128;
constexpr int kFlight = 4;  // splits whose sums are on their way at once

template <int kCount>
__device__ __forceinline__ void load_floats(float (&to)[kCount], const float* from) {
  constexpr int kPiece = kCount < 4 ? kCount : 4;
#pragma unroll
  for (int j = 0; j < kCount; j += kPiece) {
    const auto piece = load<Vec<float, kPiece>>(from + j);
#pragma unroll
    for (int k = 0; k < kPiece; k++) to[j + k] = piece.at[k];
  }
}

// Onto `sum`, in order, what lies `step` floats apart.
template <int kCount>
__device__ __forceinline__ void add_splits(float (&sum)[kCount], const float* from, int64_t step,
                                           int splits) {
  for (int s = 0; s < splits; s += kFlight) {
    float part[kFlight][kCount];
#pragma unroll
    for (int i = 0; i < kFlight; i++)
      if (s + i < splits) load_floats(part[i], from + (s + i) * step);
#pragma unroll
    for (int i = 0; i < kFlight; i++)
#pragma unroll
      for (int j = 0; j < kCount; j++)
        if (s + i < splits) sum[j] += part[i][j];
  }
}

// Index: of all vectors of y; a division of 64 bits is slow.
template <class T, int kCount, class Index>
__global__ void __launch_bounds__(kThreads)
    finish_product(const Product<T> p, const float* partial, int splits) {
  const int width = p.finish.columns / kCount;
  const Index i = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= static_cast<Index>(p.left.rows) * static_cast<Index>(width)) return;
  const auto row = static_cast<int64_t>(i / static_cast<Index>(width));
  const int column = static_cast<int>(i - static_cast<Index>(row) * static_cast<Index>(width)) * kCount;
  const int64_t at = row * p.finish.columns + column;
  const bool geglu = p.finish.activation == Activation::geglu;
  const int packed = geglu ? column / 8 * 16 + column % 8 : column;

  Vec<T, kCount> before{};
  if (p.finish.residual) before = load<Vec<T, kCount>>(p.finish.residual + at);
  float v[kCount] = {}, gate[kCount] = {};
  if (p.finish.bias) {
    load_floats(v, p.finish.bias + packed);
    if (geglu) load_floats(gate, p.finish.bias + packed + 8);
  }
  const float* from = partial + row * p.packed + packed;
  add_splits(v, from, p.left.rows * p.packed, splits);
  if (geglu) add_splits(gate, from + 8, p.left.rows * p.packed, splits);
  if constexpr (kCount == 8)
    p.finish.eight(row, column, 8, v, gate, before);
  else
    p.finish.y[at] = p.finish(p.finish.image(row), column, v[0], gate[0], before.at[0]);
}

}  // namespace

template <class T>
void launch_finish(Stream stream, const Product<T>& p, const float* partial, int splits) {
  const int64_t all = p.left.rows * p.finish.columns;
  const bool wide = p.finish.columns % 8 == 0 && all / 8 <= UINT32_MAX - kThreads;
  const auto blocks = static_cast<unsigned>(ceil_div(wide ? all / 8 : all, kThreads));
  launch(stream, wide ? finish_product<T, 8, uint32_t> : finish_product<T, 1, uint64_t>, {blocks, 1, 1},
         kThreads, 0, p, partial, splits);
}

template void launch_finish(Stream, const Product<f16>&, const float*, int);
template void launch_finish(Stream, const Product<bf16>&, const float*, int);
template void launch_finish(Stream, const Product<float>&, const float*, int);

}  // namespace latent_edge::gpu
