// layer_norm: y = (x − μ)·rsqrt(σ² + eps)·weight + bias, μ and σ² over the channels of each row; arXiv:1607.06450
// x, y [..., C]; weight, bias [C]; attrs: eps. The row stays in L1 between its passes: bound by bandwidth.
#include "../ops/layer_norm.h"

#include <cmath>

#include "gemm.h"
#include "kernels.h"

namespace latent_edge {
namespace {

class LayerNorm : public Step {
 public:
  LayerNorm(const OpDesc& op, BindContext& context)
      : p_(op),
        weight_(context.weights.raw(op.weight("weight"))),
        bias_(context.weights.raw(op.weight("bias"))) {}

 protected:
  LayerNormOp p_;
  std::shared_ptr<const PackedWeight> weight_, bias_;
};

class Fast : public LayerNorm {
 public:
  using LayerNorm::LayerNorm;
  void run(char* arena, char*, ThreadPool& pool) const override {
    const float* x = floats(arena, p_.x);
    float* y = floats(arena, p_.out);
    constexpr int64_t kBlock = 32;
    pool.parallel_for(ceil_div(p_.rows, kBlock), [&](int64_t block, int) {
      const int64_t end = std::min(p_.rows, (block + 1) * kBlock);
      for (int64_t i = block * kBlock; i < end; i++)
        isa().layer_norm_row(x + i * p_.channels, y + i * p_.channels, p_.channels, weight_->data,
                             bias_->data, static_cast<float>(p_.eps));
    });
  }
};

class Reference : public LayerNorm {
 public:
  using LayerNorm::LayerNorm;
  void run(char* arena, char*, ThreadPool&) const override {
    for (int64_t i = 0; i < p_.rows; i++) {
      const float* x = floats(arena, p_.x) + i * p_.channels;
      float* y = floats(arena, p_.out) + i * p_.channels;
      double mean = 0, variance = 0;
      for (int64_t c = 0; c < p_.channels; c++) mean += x[c];
      mean /= p_.channels;
      for (int64_t c = 0; c < p_.channels; c++) variance += (x[c] - mean) * (x[c] - mean);
      const double inverse = 1 / std::sqrt(variance / p_.channels + p_.eps);
      for (int64_t c = 0; c < p_.channels; c++)
        y[c] = static_cast<float>((x[c] - mean) * inverse * weight_->data[c] + bias_->data[c]);
    }
  }
};

}  // namespace

const Kernel kLayerNorm = kernel_of<Fast, Reference>();

}  // namespace latent_edge
