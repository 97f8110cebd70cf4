// conv2d: y = conv(upsample?(x ⊕ x2), W) + bias + temb + residual, an implicit product of [N·Ho·Wo, kh·kw·C] and
// [kh·kw·C, Cout]; ⊕ joins channels (a U-Net's skip connection) without a copy
// x [N,H,W,C1], x2 [N,H,W,C2], temb [N,Cout], y and residual [N,Ho,Wo,Cout]; weight [Cout,C1+C2,kh,kw], bias [Cout]
// attrs: stride; padding [top,left,bottom,right]; upsample [H',W']: x first resized (nearest), H' in {2H−1, 2H}
// Bound by arithmetic, but where Cout is small by the copying of patches.
#include "conv2d.h"

namespace latent_edge {
namespace {

class Direct : public Step {
 public:
  Direct(const OpDesc& op, BindContext& context)
      : p_(op),
        tiling_(p_.images * p_.pixels(), packed_columns(p_.out_channels), p_.kh * p_.kw * p_.channels,
                context.pool.threads()),
        threads_(context.pool.threads()),
        weight_(conv_panels(op, p_, context)),
        bias_(conv_bias(op, context)) {}

  size_t scratch_bytes() const override { return threads_ * tiling_.scratch_floats() * sizeof(float); }

  void run(char* arena, char* scratch, ThreadPool& pool) const override {
    const Source source{p_, floats(arena, p_.x), floats(arena, p_.x2)};
    const float *temb = floats(arena, p_.temb), *residual = floats(arena, p_.residual);
    float* y = floats(arena, p_.out);
    const int64_t ld = p_.out_channels, pixels = p_.pixels();
    gemm(tiling_, source, weight_, Rows{residual ? residual : y, ld}, scratch, pool,
         [&](int64_t row, int64_t rows, int64_t col, int64_t cols, const float* tile, int64_t ldc) {
           // Rows of one image at a time: the time embedding changes with the image.
           for (int64_t done = 0; done < rows;) {
             const int64_t first = row + done, image = first / pixels;
             const int64_t count = temb ? std::min(rows - done, (image + 1) * pixels - first) : rows;
             const int64_t at = first * ld + col;
             Epilogue e;
             e.scale = weight_.scales(col);
             e.bias = bias_ ? bias_->data + col : nullptr;
             e.shift = temb ? temb + image * ld + col : nullptr;
             e.residual = residual ? residual + at : nullptr;
             isa().finish(tile + done * ldc, ldc, count, std::min(cols, ld - col), y + at, ld, e);
             done += count;
           }
         });
  }

 private:
  struct Source {
    const Conv2dOp& p;
    const float *x, *x2;

    void copy(int64_t row, int64_t rows, int64_t k0, int64_t depth, float* to) const {
      for (int64_t i = 0; i < rows; i++) copy_row(row + i, k0, depth, to + i * kRowStride);
    }
    // Of 1×1: otherwise patches have most of it in common with those before. Of a block that both have a part of, x's.
    Ahead ahead(int64_t row, int64_t rows, int64_t k0, int64_t depth) const {
      const bool one = p.kh * p.kw == 1 && p.stride == 1 && p.shift == 0 && p.out_width == p.width &&
                       p.out_height == p.height;
      if (!one) return {};
      return k0 < p.c1 ? Rows{x, p.c1}.ahead(row, rows, k0, std::min(depth, p.c1 - k0))
                       : Rows{x2, p.c2}.ahead(row, rows, k0 - p.c1, depth);
    }

    // Depths k0 … k0+depth of the patch under output pixel `row`; zeros outside of the image.
    void copy_row(int64_t row, int64_t k0, int64_t depth, float* to) const {
      const int64_t ox = row % p.out_width, oy = row / p.out_width % p.out_height;
      const int64_t image = row / (p.out_width * p.out_height);
      int64_t tap = k0 / p.channels, c = k0 % p.channels;
      while (depth > 0) {
        const int64_t iy = oy * p.stride - p.top + tap / p.kw, ix = ox * p.stride - p.left + tap % p.kw;
        const bool inside = iy >= 0 && iy < p.in_height && ix >= 0 && ix < p.in_width;
        const int64_t pixel = (image * p.height + (iy >> p.shift)) * p.width + (ix >> p.shift);
        for (; c < p.channels && depth > 0;) {
          const bool first = c < p.c1;
          const int64_t n = std::min(depth, (first ? p.c1 : p.channels) - c);
          if (!inside)
            std::memset(to, 0, n * sizeof(float));
          else
            std::memcpy(to, first ? x + pixel * p.c1 + c : x2 + pixel * p.c2 + (c - p.c1), n * sizeof(float));
          to += n, c += n, depth -= n;
        }
        c = 0, tap++;
      }
    }
  };

  Conv2dOp p_;
  GemmTiling tiling_;
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
    const float *x = floats(arena, p_.x), *x2 = floats(arena, p_.x2);
    const float *temb = floats(arena, p_.temb), *residual = floats(arena, p_.residual);
    float* y = floats(arena, p_.out);
    const auto at = [&](int64_t n, int64_t iy, int64_t ix, int64_t c) -> double {
      if (iy < 0 || iy >= p_.in_height || ix < 0 || ix >= p_.in_width) return 0;
      const int64_t pixel = (n * p_.height + (iy >> p_.shift)) * p_.width + (ix >> p_.shift);
      return c < p_.c1 ? x[pixel * p_.c1 + c] : x2[pixel * p_.c2 + c - p_.c1];
    };
    for (int64_t n = 0; n < p_.images; n++)
      for (int64_t oy = 0; oy < p_.out_height; oy++)
        for (int64_t ox = 0; ox < p_.out_width; ox++)
          for (int64_t o = 0; o < p_.out_channels; o++) {
            double s = bias_ ? bias_->data[o] : 0.0;
            for (int64_t c = 0; c < p_.channels; c++)
              for (int64_t ky = 0; ky < p_.kh; ky++)
                for (int64_t kx = 0; kx < p_.kw; kx++)
                  s += at(n, oy * p_.stride - p_.top + ky, ox * p_.stride - p_.left + kx, c) *
                       weight_->data[((o * p_.channels + c) * p_.kh + ky) * p_.kw + kx];
            const int64_t i = ((n * p_.out_height + oy) * p_.out_width + ox) * p_.out_channels + o;
            if (temb) s += temb[n * p_.out_channels + o];
            if (residual) s += residual[i];
            y[i] = static_cast<float>(s);
          }
  }

 private:
  Conv2dOp p_;
  std::shared_ptr<const PackedWeight> weight_, bias_;
};

std::unique_ptr<Step> bind_fast(const OpDesc& op, BindContext& context) {
  const Conv2dOp p(op);
  if (winograd_fits(p)) return bind_winograd(op, context);
  return std::make_unique<Direct>(op, context);
}

}  // namespace

const Kernel kConv2d = {bind_fast, kernel_of<Direct, Reference>().reference};

}  // namespace latent_edge
