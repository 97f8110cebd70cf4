// timestep_embedding: the sinusoids of arXiv:1706.03762 at diffusion times, as DDPM has them (arXiv:2006.11239)
// t [B] → y [B, dim]: sin(t·f_i), then cos(t·f_i), f_i = max_period^(−i/(dim/2 − freq_shift))
// attrs: dim (odd: ends with a zero), flip_sin_to_cos (the cosines first), freq_shift, max_period
// The frequencies are rounded to float32 where torch rounds them: at t ≈ 1000 the phase shows it.
#include <cmath>

#include "kernels.h"

namespace latent_edge {
namespace {

class TimestepEmbedding : public Step {
 public:
  TimestepEmbedding(const OpDesc& op, BindContext&)
      : t_(op.input("t")),
        out_(op.output),
        dim_(op.integer("dim")),
        flip_(op.flag("flip_sin_to_cos")),
        frequencies_(static_cast<size_t>(dim_ / 2)) {
    expect(t_.shape.size() == 1, "t [B]", t_.shape);
    expect(dim_ >= 2, "dim of at least 2", {dim_});
    expect_shape("output", out_.shape, {t_.shape[0], dim_});
    const float log_period = static_cast<float>(-std::log(op.number("max_period")));
    const float span = static_cast<float>(static_cast<double>(dim_ / 2) - op.number("freq_shift"));
    for (size_t i = 0; i < frequencies_.size(); i++) {
      const float exponent = log_period * static_cast<float>(i);
      frequencies_[i] = static_cast<float>(std::exp(static_cast<double>(exponent / span)));
    }
  }

  void run(char* arena, char*, ThreadPool&) const override {
    const float* t = floats(arena, t_);
    float* y = floats(arena, out_);
    const int64_t half = dim_ / 2;
    for (int64_t b = 0; b < t_.shape[0]; b++) {
      for (int64_t i = 0; i < half; i++) {
        const double phase = t[b] * frequencies_[static_cast<size_t>(i)];  // rounded to float32
        y[b * dim_ + i + (flip_ ? half : 0)] = static_cast<float>(std::sin(phase));
        y[b * dim_ + i + (flip_ ? 0 : half)] = static_cast<float>(std::cos(phase));
      }
      if (dim_ % 2) y[b * dim_ + dim_ - 1] = 0;
    }
  }

 private:
  TensorRef t_, out_;
  int64_t dim_;
  bool flip_;
  std::vector<float> frequencies_;
};

}  // namespace

const Kernel kTimestepEmbedding = kernel_of<TimestepEmbedding, TimestepEmbedding>();

}  // namespace latent_edge
