// activation: y = f(x), f silu (arXiv:1702.03118), gelu (with the exact erf, arXiv:1606.08415), quick_gelu
// (x·σ(1.702x), as in OpenAI's CLIP), relu or tanh. x, y of any one shape. Bound by bandwidth.
#include <cmath>

#include "../ops/elementwise.h"
#include "gemm.h"
#include "kernels.h"

namespace latent_edge {

double reference_activation(double x, Activation a) {
  switch (a) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu:
    case Activation::geglu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::quick_gelu:
      return x / (1 + std::exp(-1.702 * x));
    case Activation::relu:
      return x < 0 ? 0 : x;
    case Activation::tanh:
      return std::tanh(x);
    case Activation::none:
      return x;
  }
  return x;
}

namespace {

class Elementwise : public Step {
 public:
  Elementwise(const OpDesc& op, BindContext&) : p_(op) {}

 protected:
  ActivationOp p_;
};

class Fast : public Elementwise {
 public:
  using Elementwise::Elementwise;
  void run(char* arena, char*, ThreadPool& pool) const override {
    const float* x = floats(arena, p_.x);
    float* y = floats(arena, p_.out);
    const int64_t n = elements(p_.x.shape);
    constexpr int64_t kBlock = 16384;
    pool.parallel_for(ceil_div(n, kBlock), [&](int64_t block, int) {
      const int64_t first = block * kBlock;
      isa().activate(x + first, y + first, std::min(kBlock, n - first), p_.activation);
    });
  }
};

class Reference : public Elementwise {
 public:
  using Elementwise::Elementwise;
  void run(char* arena, char*, ThreadPool&) const override {
    const float* x = floats(arena, p_.x);
    float* y = floats(arena, p_.out);
    for (int64_t i = 0; i < elements(p_.x.shape); i++)
      y[i] = static_cast<float>(reference_activation(x[i], p_.activation));
  }
};

}  // namespace

const Kernel kActivation = kernel_of<Fast, Reference>();

}  // namespace latent_edge
