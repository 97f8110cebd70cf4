// What becomes of a product's sums where another kernel, or a library, has made them.
#include "gemm.h"

namespace latent_edge::gpu {
namespace {

// y out of partial sums [splits][rows][packed], one thread an element.
template <class T>
__global__ void __launch_bounds__(256) finish_product(const Product<T> p, const float* partial, int splits) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= p.left.rows * p.finish.columns) return;
  const int64_t row = i / p.finish.columns;
  const int column = static_cast<int>(i - row * p.finish.columns);
  const bool geglu = p.finish.activation == Activation::geglu;
  const int packed = geglu ? column / 8 * 16 + column % 8 : column;
  float v = p.finish.bias ? p.finish.bias[packed] : 0,
        gate = geglu && p.finish.bias ? p.finish.bias[packed + 8] : 0;
  for (int s = 0; s < splits; s++) {
    const float* from = partial + (s * p.left.rows + row) * p.packed + packed;
    v += from[0];
    if (geglu) gate += from[8];
  }
  p.finish.y[i] = p.finish(p.finish.image(row), column, v, gate,
                           p.finish.residual ? p.finish.residual[i] : from_float<T>(0));
}

}  // namespace

template <class T>
void launch_finish(Stream stream, const Product<T>& p, const float* partial, int splits) {
  const auto blocks = static_cast<unsigned>(ceil_div(p.left.rows * p.finish.columns, 256));
  launch(stream, finish_product<T>, {blocks, 1, 1}, 256, 0, p, partial, splits);
}

template void launch_finish(Stream, const Product<f16>&, const float*, int);
template void launch_finish(Stream, const Product<bf16>&, const float*, int);
template void launch_finish(Stream, const Product<float>&, const float*, int);

}  // namespace latent_edge::gpu
