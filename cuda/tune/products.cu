// Times every cut of gemm_tma.cu over the models' products, to fit its table of shapes by (choose, kShapes). No Node:
//   cd cuda/tune && nvcc -std=c++20 -O3 -diag-suppress 177 -gencode=arch=compute_90a,code=sm_90a -cudart static \
//     products.cu ../kernels/finish.cu -o products && ./products
// A line for each product: microseconds of shape/splits, the fastest, and what choose() takes. Weights are another copy at
// each run, so that they come from device memory as in a U-Net.
#include "../kernels/gemm_tma.cu"
#include "products.h"

namespace latent_edge::gpu {
namespace {

struct Cuts {
  int multiprocessors, shapes = static_cast<int>(std::size(kShapes));
  int stages(const Product<f16>& p) const { return stages_of(p.left); }
  CutOf chosen(const Product<f16>& p) const {
    const auto [shape, splits] = choose(p, multiprocessors);
    return {shape, splits};
  }
  auto launcher(const Product<f16>& p, int shape, int splits) const {
    return [=, maps = maps_of(p, kShapes[shape]), count = multiprocessors](Stream stream, float* partial) {
      launch_cut(stream, p, maps, {shape, splits}, count, partial);
    };
  }
};

}  // namespace
}  // namespace latent_edge::gpu

int main() {
  return latent_edge::gpu::time_products([](int count) { return latent_edge::gpu::Cuts{count}; });
}
