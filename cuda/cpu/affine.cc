// affine: y = scale·x + shift. x, y of any one shape; attrs: scale, shift. Bound by bandwidth; run at the
// border of a plan, on a few channels.
#include "gemm.h"
#include "kernels.h"

namespace latent_edge {
namespace {

class Affine : public Step {
 public:
  Affine(const OpDesc& op, BindContext&)
      : x_(op.input("x")), out_(op.output), scale_(op.number("scale")), shift_(op.number("shift")) {
    expect_shape("output", out_.shape, x_.shape);
  }

 protected:
  TensorRef x_, out_;
  double scale_, shift_;
};

class Fast : public Affine {
 public:
  using Affine::Affine;
  void run(char* arena, char*, ThreadPool& pool) const override {
    const float* x = floats(arena, x_);
    float* y = floats(arena, out_);
    const int64_t n = elements(x_.shape);
    const float scale = static_cast<float>(scale_), shift = static_cast<float>(shift_);
    constexpr int64_t kBlock = 16384;
    pool.parallel_for(ceil_div(n, kBlock), [&](int64_t block, int) {
      const int64_t end = std::min(n, (block + 1) * kBlock);
      for (int64_t i = block * kBlock; i < end; i++) y[i] = scale * x[i] + shift;
    });
  }
};

class Reference : public Affine {
 public:
  using Affine::Affine;
  void run(char* arena, char*, ThreadPool&) const override {
    const float* x = floats(arena, x_);
    float* y = floats(arena, out_);
    for (int64_t i = 0; i < elements(x_.shape); i++) y[i] = static_cast<float>(scale_ * x[i] + shift_);
  }
};

}  // namespace

const Kernel kAffine = kernel_of<Fast, Reference>();

}  // namespace latent_edge
