// timestep_embedding: the sinusoids of arXiv:1706.03762 at diffusion times, as DDPM has them (arXiv:2006.11239)
// t [B] → y [B, dim]: sin(t·f_i), then cos(t·f_i), f_i = max_period^(−i/(dim/2 − freq_shift))
// attrs: dim (odd: ends with a zero), flip_sin_to_cos (the cosines first), freq_shift, max_period
// The frequencies are rounded to float32 where torch rounds them: at t ≈ 1000 the phase shows it.
#include "../ops/timestep_embedding.h"

#include <cmath>

#include "kernels.h"

namespace latent_edge {
namespace {

class TimestepEmbedding : public Step {
 public:
  TimestepEmbedding(const OpDesc& op, BindContext&) : p_(op) {}

  void run(char* arena, char*, ThreadPool&) const override {
    const float* t = floats(arena, p_.t);
    float* y = floats(arena, p_.out);
    const int64_t dim = p_.dim, half = dim / 2;
    for (int64_t b = 0; b < p_.batch; b++) {
      for (int64_t i = 0; i < half; i++) {
        const double phase = t[b] * p_.frequencies[static_cast<size_t>(i)];  // rounded to float32
        y[b * dim + i + (p_.flip ? half : 0)] = static_cast<float>(std::sin(phase));
        y[b * dim + i + (p_.flip ? 0 : half)] = static_cast<float>(std::cos(phase));
      }
      if (dim % 2) y[b * dim + dim - 1] = 0;
    }
  }

 private:
  TimestepEmbeddingOp p_;
};

}  // namespace

const Kernel kTimestepEmbedding = kernel_of<TimestepEmbedding, TimestepEmbedding>();

}  // namespace latent_edge
