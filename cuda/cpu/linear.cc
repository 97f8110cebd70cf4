// linear: y = act(x·Wᵀ + bias) + residual;  geglu: y = (x·Vᵀ + b)·gelu(x·Gᵀ + c), arXiv:2002.05202
// x [..., K]; weight [N, K], its rows several checkpoint tensors where they are packed (q, k, v); bias [N]
// y, residual [..., N]; with geglu N counts values then gates, and y is [..., N/2]
// Bound by arithmetic from a few rows on; at M < 8 by reading W.
#include "../ops/linear.h"

#include "gemm.h"
#include "kernels.h"
#include "strassen.h"

namespace latent_edge {
namespace {

class Fast : public Step {
 public:
  Fast(const OpDesc& op, BindContext& context)
      : p_(op),
        tiling_(p_.m, packed_columns(order_size()), p_.k, context.pool.threads()),
        threads_(context.pool.threads()) {
    const bool gated = p_.activation == Activation::geglu;
    const int64_t n = p_.n, k = p_.k, half = n / 2, nr = isa().nr, columns = order_size();
    // With geglu a panel holds nr/2 values and then their gates, so that one tile has both.
    const auto source = [=](int64_t column) -> int64_t {
      if (!gated) return column;
      const int64_t j = column % nr, unit = column / nr * (nr / 2) + j % (nr / 2);
      return unit >= half ? -1 : j < nr / 2 ? unit : half + unit;
    };
    weight_ = Panels(context, op.weight("weight"), gated ? "panels.geglu" : "panels", columns, k, 1,
                     [=](int64_t column, int64_t d, int64_t) {
                       const int64_t row = source(column);
                       return row < 0 ? -1 : row * k + d;
                     });
    // Rows of two dimensions are of as many images, which are not to be mixed.
    const int64_t tokens = p_.x.shape.size() == 3 ? p_.x.shape[1] : 0;
    if (weight_.element() != Element::i8 && StrassenTiling::fits(tokens, tiling_.n, k))
      strassen_.emplace(p_.m / tokens, tokens, tiling_.n, k, threads_);
    if (const WeightRef* bias = op.find_weight("bias"))
      bias_ = context.weights.get(*bias, gated ? "columns.geglu" : "raw", columns,
                                  [=](const float* b, float* to) {
                                    for (int64_t i = 0; i < columns; i++)
                                      to[i] = source(i) < 0 ? 0.0f : b[source(i)];
                                  });
  }

  size_t scratch_bytes() const override {
    return threads_ * (strassen_ ? strassen_->scratch_floats() : tiling_.scratch_floats()) * sizeof(float);
  }

  void run(char* arena, char* scratch, ThreadPool& pool) const override {
    const float* x = floats(arena, p_.x);
    const float* residual = floats(arena, p_.residual);
    float* y = floats(arena, p_.out);
    const int64_t k = p_.k, ld = p_.out_columns, shrink = p_.activation == Activation::geglu ? 2 : 1;
    // With geglu the columns of a tile are not those of y.
    const Rows touched = shrink == 1 ? Rows{residual ? residual : y, ld} : Rows{};
    const auto finish = [&](int64_t row, int64_t rows, int64_t col, int64_t cols, const float* tile,
                            int64_t ldc) {
      const int64_t at = row * ld + col / shrink;
      Epilogue e;
      e.scale = weight_.scales(col);
      e.bias = bias_ ? bias_->data + col : nullptr;
      e.residual = residual ? residual + at : nullptr;
      e.activation = p_.activation;
      isa().finish(tile, ldc, rows, std::min(cols, shrink * ld - col), y + at, ld, e);
    };
    if (strassen_)
      strassen(*strassen_, Rows{x, k}, weight_, scratch, pool, finish);
    else
      gemm(tiling_, Rows{x, k}, weight_, touched, scratch, pool, finish);
  }

 private:
  // Columns before padding to whole panels; with geglu padding falls inside each half of the last panel.
  int64_t order_size() const {
    return p_.activation == Activation::geglu ? ceil_div(p_.n / 2, isa().nr / 2) * isa().nr : p_.n;
  }

  LinearOp p_;
  GemmTiling tiling_;
  std::optional<StrassenTiling> strassen_;  // where it is faster
  int threads_;
  Panels weight_;
  std::shared_ptr<const PackedWeight> bias_;
};

class Reference : public Step {
 public:
  Reference(const OpDesc& op, BindContext& context)
      : p_(op), weight_(context.weights.raw(op.weight("weight"))) {
    if (const WeightRef* bias = op.find_weight("bias")) bias_ = context.weights.raw(*bias);
  }
  void run(char* arena, char*, ThreadPool&) const override {
    const float *x = floats(arena, p_.x), *residual = floats(arena, p_.residual);
    float* y = floats(arena, p_.out);
    const auto dot = [&](int64_t row, int64_t n) {
      double s = bias_ ? bias_->data[n] : 0.0;
      for (int64_t d = 0; d < p_.k; d++)
        s += static_cast<double>(x[row * p_.k + d]) * weight_->data[n * p_.k + d];
      return s;
    };
    for (int64_t i = 0; i < p_.m; i++)
      for (int64_t j = 0; j < p_.out_columns; j++) {
        double v = p_.activation == Activation::geglu
                       ? dot(i, j) * reference_activation(dot(i, j + p_.out_columns), Activation::gelu)
                       : reference_activation(dot(i, j), p_.activation);
        const int64_t at = i * p_.out_columns + j;
        y[at] = static_cast<float>(residual ? v + residual[at] : v);
      }
  }

 private:
  LinearOp p_;
  std::shared_ptr<const PackedWeight> weight_, bias_;
};

}  // namespace

const Kernel kLinear = kernel_of<Fast, Reference>();

}  // namespace latent_edge
