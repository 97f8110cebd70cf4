// zero_conv: y = onto + scale[level][n]·(x·Wᵀ + bias), a 1×1 convolution of a ControlNet's activation, added
// straight to a U-Net's skip connection; without `onto` the residual itself. arXiv:2302.05543, section 3.1
// x [N,H,W,C], y and onto [N,H,W,O], scale [R,N] of which row `level`; weight [O,C], bias [O]
// Where the scale or the residual is zero y is `onto`, bit for bit, its negative zeros too.
// Bound by arithmetic; the epilogue reads and writes each output once.
#include "../ops/zero_conv.h"

#include "gemm.h"
#include "kernels.h"

namespace latent_edge {
namespace {

struct ZeroConv : ZeroConvOp {
  using ZeroConvOp::ZeroConvOp;

  const float* scales(char* arena) const { return floats(arena, scale) + level * images; }

  // y = onto, or zero.
  void keep(const float* onto, float* y, int64_t n) const {
    if (onto)
      std::memcpy(y, onto, n * sizeof(float));
    else
      std::memset(y, 0, n * sizeof(float));
  }
};

class Fast : public Step {
 public:
  Fast(const OpDesc& op, BindContext& context)
      : p_(op),
        tiling_(p_.images * p_.pixels, packed_columns(p_.out_channels), p_.channels, context.pool.threads()),
        threads_(context.pool.threads()),
        bias_(context.weights.raw(op.weight("bias"))) {
    const int64_t n = p_.out_channels, k = p_.channels;
    weight_ = Panels(context, op.weight("weight"), "panels", n, k, 1,
                     [=](int64_t o, int64_t c, int64_t) { return o * k + c; });
  }

  size_t scratch_bytes() const override { return threads_ * tiling_.scratch_floats() * sizeof(float); }

  void run(char* arena, char* scratch, ThreadPool& pool) const override {
    const float *x = floats(arena, p_.x), *onto = floats(arena, p_.onto), *scales = p_.scales(arena);
    float* y = floats(arena, p_.out);
    const int64_t k = p_.channels, n = p_.out_channels;
    if (std::all_of(scales, scales + p_.images, [](float s) { return s == 0; }))
      return p_.keep(onto, y, elements(p_.out.shape));
    gemm(tiling_, Rows{x, k}, weight_, Rows{onto ? onto : y, n}, scratch, pool,
         [&](int64_t row, int64_t rows, int64_t col, int64_t cols, const float* tile, int64_t ldc) {
           for (int64_t i = 0; i < rows; i++) {
             const int64_t at = (row + i) * n + col;
             add(tile + i * ldc, weight_.scales(col), bias_->data + col, scales[(row + i) / p_.pixels],
                 onto ? onto + at : nullptr, y + at, std::min(cols, n - col));
           }
         });
  }

 private:
  // own: of a weight in 8 bits.
  void add(const float* product, const float* own, const float* bias, float scale, const float* onto,
           float* y, int64_t n) const {
    if (scale == 0) return p_.keep(onto, y, n);
    for (int64_t j = 0; j < n; j++) {
      const float residual = scale * ((own ? own[j] * product[j] : product[j]) + bias[j]);
      y[j] = !onto ? residual : residual == 0 ? onto[j] : onto[j] + residual;
    }
  }

  ZeroConv p_;
  GemmTiling tiling_;
  int threads_;
  Panels weight_;
  std::shared_ptr<const PackedWeight> bias_;
};

class Reference : public Step {
 public:
  Reference(const OpDesc& op, BindContext& context)
      : p_(op),
        weight_(context.weights.raw(op.weight("weight"))),
        bias_(context.weights.raw(op.weight("bias"))) {}

  void run(char* arena, char*, ThreadPool&) const override {
    const float *x = floats(arena, p_.x), *onto = floats(arena, p_.onto), *scales = p_.scales(arena);
    float* y = floats(arena, p_.out);
    const int64_t k = p_.channels, n = p_.out_channels;
    for (int64_t row = 0; row < p_.images * p_.pixels; row++) {
      const double scale = scales[row / p_.pixels];
      for (int64_t o = 0; o < n; o++) {
        double s = bias_->data[o];
        for (int64_t c = 0; c < k; c++) s += static_cast<double>(x[row * k + c]) * weight_->data[o * k + c];
        const int64_t i = row * n + o;
        const double residual = scale == 0 ? 0 : scale * s;
        if (onto)
          y[i] = residual == 0 ? onto[i] : static_cast<float>(onto[i] + residual);
        else
          y[i] = static_cast<float>(residual);
      }
    }
  }

 private:
  ZeroConv p_;
  std::shared_ptr<const PackedWeight> weight_, bias_;
};

}  // namespace

const Kernel kZeroConv = kernel_of<Fast, Reference>();

}  // namespace latent_edge
