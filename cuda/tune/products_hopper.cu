// The same of gemm_hopper.cu: built and run as products.cu.
#include "../kernels/gemm_hopper.cu"
#include "products.h"

namespace latent_edge::gpu {
namespace {

struct Cuts {
  int multiprocessors, shapes = static_cast<int>(std::size(kShapes));
  int stages(const Product<f16>& p) const { return stages_of(p.left); }
  CutOf chosen(const Product<f16>& p) const {
    const auto [shape, splits] = choose(p.left.rows, p.packed, stages_of(p.left), multiprocessors);
    return {shape, splits};
  }
  auto launcher(const Product<f16>& p, int shape, int splits) const {
    return [=](Stream stream, float* partial) { launch_cut(stream, p, {shape, splits}, partial); };
  }
};

}  // namespace
}  // namespace latent_edge::gpu

int main() {
  return latent_edge::gpu::time_products([](int count) { return latent_edge::gpu::Cuts{count}; });
}
