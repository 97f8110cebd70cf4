// layer_norm: y = (x − μ)·rsqrt(σ² + eps)·weight + bias, μ and σ² over the channels of each row; arXiv:1607.06450
// x, y [..., C]; weight, bias [C]; attrs: eps. The row stays in L1 between its passes: bound by bandwidth.
#include <cmath>

#include "gemm.h"
#include "kernels.h"

namespace latent_edge {
namespace {

class LayerNorm : public Step {
 public:
  LayerNorm(const OpDesc& op, BindContext& context)
      : x_(op.input("x")),
        out_(op.output),
        eps_(op.number("eps")),
        weight_(context.weights.raw(op.weight("weight"))),
        bias_(context.weights.raw(op.weight("bias"))) {
    expect(!x_.shape.empty() && x_.shape.back() > 0, "x of at least one dimension", x_.shape);
    channels_ = x_.shape.back(), rows_ = elements(x_.shape) / channels_;
    expect_shape("weight", op.weight("weight").shape, {channels_});
    expect_shape("bias", op.weight("bias").shape, {channels_});
    expect_shape("output", out_.shape, x_.shape);
  }

 protected:
  TensorRef x_, out_;
  double eps_;
  int64_t rows_, channels_;
  std::shared_ptr<const PackedWeight> weight_, bias_;
};

class Fast : public LayerNorm {
 public:
  using LayerNorm::LayerNorm;
  void run(char* arena, char*, ThreadPool& pool) const override {
    const float* x = floats(arena, x_);
    float* y = floats(arena, out_);
    constexpr int64_t kBlock = 32;
    pool.parallel_for(ceil_div(rows_, kBlock), [&](int64_t block, int) {
      const int64_t end = std::min(rows_, (block + 1) * kBlock);
      for (int64_t i = block * kBlock; i < end; i++)
        isa().layer_norm_row(x + i * channels_, y + i * channels_, channels_, weight_->data, bias_->data,
                             static_cast<float>(eps_));
    });
  }
};

class Reference : public LayerNorm {
 public:
  using LayerNorm::LayerNorm;
  void run(char* arena, char*, ThreadPool&) const override {
    for (int64_t i = 0; i < rows_; i++) {
      const float* x = floats(arena, x_) + i * channels_;
      float* y = floats(arena, out_) + i * channels_;
      double mean = 0, variance = 0;
      for (int64_t c = 0; c < channels_; c++) mean += x[c];
      mean /= channels_;
      for (int64_t c = 0; c < channels_; c++) variance += (x[c] - mean) * (x[c] - mean);
      const double inverse = 1 / std::sqrt(variance / channels_ + eps_);
      for (int64_t c = 0; c < channels_; c++)
        y[c] = static_cast<float>((x[c] - mean) * inverse * weight_->data[c] + bias_->data[c]);
    }
  }
};

}  // namespace

const Kernel kLayerNorm = kernel_of<Fast, Reference>();

}  // namespace latent_edge
