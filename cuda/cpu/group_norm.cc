// group_norm: y = silu?((x − μ)·rsqrt(σ² + eps)·weight + bias), arXiv:1803.08494
// μ, σ² over each (n, group): all positions × C/G channels
// x [N,...,C1] ⊕ x2 [N,...,C2] → y [N,...,C1+C2]; weight, bias [C]; attrs: groups, eps, silu
// Sums are taken block by block of positions, in float32 about each channel's first value there, and put together in
// float64; μ is subtracted before it is scaled: nothing cancels where |μ| ≫ σ.
// Reads x twice, writes y once: bound by bandwidth.
#include "../ops/group_norm.h"

#include <cmath>

#include "gemm.h"
#include "kernels.h"

namespace latent_edge {
namespace {

class Fast : public Step {
 public:
  Fast(const OpDesc& op, BindContext& context)
      : p_(op),
        weight_(context.weights.raw(op.weight("weight"))),
        bias_(context.weights.raw(op.weight("bias"))) {
    blocks_ = ceil_div(p_.positions, kBlock);
  }

  size_t scratch_bytes() const override { return p_.images * (2 * blocks_ + 3) * width() * sizeof(float); }

  void run(char* arena, char* scratch, ThreadPool& pool) const override {
    const float *x = floats(arena, p_.x), *x2 = floats(arena, p_.x2);
    float* y = floats(arena, p_.out);
    float* partial = reinterpret_cast<float*>(scratch);            // [images][blocks][sum, square][width]
    float* factors = partial + p_.images * blocks_ * 2 * width();  // [images][mean, scale, shift][width]
    const auto each = [&](int64_t task, auto body) {  // the two sources of one block of positions
      const int64_t image = task / blocks_, first = task % blocks_ * kBlock;
      const int64_t count = std::min(kBlock, p_.positions - first), row = image * p_.positions;
      body(image, x, row, first, count, p_.c1, int64_t{0});
      if (x2) body(image, x2, row, first, count, p_.c2, p_.c1);
    };
    pool.parallel_for(p_.images * blocks_, [&](int64_t task, int) {
      float* sums = partial + task * 2 * width();
      std::fill(sums, sums + 2 * width(), 0.0f);
      each(task,
           [&](int64_t, const float* from, int64_t row, int64_t first, int64_t count, int64_t c, int64_t at) {
             const float* block = from + (row + first) * c;
             isa().channel_sums(block, c, count, c, block, sums + at, sums + width() + at);
           });
    });
    pool.parallel_for(p_.images * p_.groups, [&](int64_t task, int) {
      const int64_t image = task / p_.groups;
      combine(image, task % p_.groups, x, x2, partial + image * blocks_ * 2 * width(),
              factors + image * 3 * width());
    });
    pool.parallel_for(p_.images * blocks_, [&](int64_t task, int) {
      each(task, [&](int64_t image, const float* from, int64_t row, int64_t first, int64_t count, int64_t c,
                     int64_t at) {
        const float* mean = factors + image * 3 * width() + at;
        isa().normalize(from + (row + first) * c, c, y + (row + first) * p_.channels + at, p_.channels, count,
                        c, mean, mean + width(), mean + 2 * width(), p_.silu);
      });
    });
  }

 private:
  static constexpr int64_t kBlock = 128;  // positions
  int64_t width() const { return lines(p_.channels); }

  // One channel's mean, and the sum of its squared distances from it, out of its blocks' sums.
  struct Moments {
    double mean, spread;
  };
  Moments moments(int64_t image, int64_t c, const float* x, const float* x2, const float* partial) const {
    const float* from = c < p_.c1 ? x + c : x2 + (c - p_.c1);
    const int64_t ld = c < p_.c1 ? p_.c1 : p_.c2, row = image * p_.positions;
    double n = 0, mean = 0, spread = 0;
    for (int64_t b = 0; b < blocks_; b++) {  // Chan et al., doi:10.1080/00031305.1983.10483115
      const double count = static_cast<double>(std::min(kBlock, p_.positions - b * kBlock));
      const double s = partial[b * 2 * width() + c], q = partial[(b * 2 + 1) * width() + c];
      const double away = from[(row + b * kBlock) * ld] + s / count - mean;
      mean += away * count / (n + count);
      spread += q - s * s / count + away * away * n * count / (n + count);
      n += count;
    }
    return {mean, spread};
  }

  // Sums of a group's channels to each channel's mean, scale and shift. The mean's rounding goes into the shift: what
  // is subtracted from x is a float32, and where a group holds few values x may be as large as 10⁴ deviations.
  void combine(int64_t image, int64_t group, const float* x, const float* x2, const float* partial,
               float* factors) const {
    const int64_t size = p_.channels / p_.groups, first = group * size;
    std::vector<Moments> channels(size);
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < size; i++) {
      channels[i] = moments(image, first + i, x, x2, partial);
      mean += channels[i].mean / size;
    }
    for (const Moments& m : channels)
      variance += (m.spread / p_.positions + (m.mean - mean) * (m.mean - mean)) / size;
    const double inverse = 1 / std::sqrt(std::max(variance, 0.0) + p_.eps);
    const float rounded = static_cast<float>(mean);
    for (int64_t c = first; c < first + size; c++) {
      const double scale = inverse * weight_->data[c];
      factors[c] = rounded;
      factors[width() + c] = static_cast<float>(scale);
      factors[2 * width() + c] = static_cast<float>(bias_->data[c] - (mean - rounded) * scale);
    }
  }

  GroupNormOp p_;
  int64_t blocks_;
  std::shared_ptr<const PackedWeight> weight_, bias_;
};

class Reference : public Step {
 public:
  Reference(const OpDesc& op, BindContext& context)
      : p_(op),
        weight_(context.weights.raw(op.weight("weight"))),
        bias_(context.weights.raw(op.weight("bias"))) {}
  void run(char* arena, char*, ThreadPool&) const override {
    const float *x = floats(arena, p_.x), *x2 = floats(arena, p_.x2);
    float* y = floats(arena, p_.out);
    const int64_t size = p_.channels / p_.groups;
    const auto at = [&](int64_t row, int64_t c) -> double {
      return c < p_.c1 ? x[row * p_.c1 + c] : x2[row * p_.c2 + c - p_.c1];
    };
    for (int64_t n = 0; n < p_.images; n++)
      for (int64_t g = 0; g < p_.groups; g++) {
        const int64_t first = n * p_.positions, count = p_.positions * size;
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < count; i++) mean += at(first + i / size, g * size + i % size);
        mean /= count;
        for (int64_t i = 0; i < count; i++) {
          const double d = at(first + i / size, g * size + i % size) - mean;
          variance += d * d;
        }
        const double inverse = 1 / std::sqrt(variance / count + p_.eps);
        for (int64_t i = 0; i < count; i++) {
          const int64_t row = first + i / size, c = g * size + i % size;
          const double v = (at(row, c) - mean) * inverse * weight_->data[c] + bias_->data[c];
          y[row * p_.channels + c] =
              static_cast<float>(p_.silu ? reference_activation(v, Activation::silu) : v);
        }
      }
  }

 private:
  GroupNormOp p_;
  std::shared_ptr<const PackedWeight> weight_, bias_;
};

}  // namespace

const Kernel kGroupNorm = kernel_of<Fast, Reference>();

}  // namespace latent_edge
