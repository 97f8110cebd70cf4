// timestep_embedding: t [B] float32 → y [B,dim] in the storage's type: sin(t·f_i), then cos(t·f_i); flipped: the
// cosines first; an odd dim ends with a zero. The frequencies f_i come from the host, rounded as torch rounds them.
// A few thousand elements: bound by the launch.
#include "../ops/timestep_embedding.h"
#include "bind.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

template <class T>
__global__ void timestep_embedding(const float* t, const float* frequencies, T* y, int dim, bool flip) {
  const int half = dim / 2, b = static_cast<int>(blockIdx.x);
  for (int i = static_cast<int>(threadIdx.x); i < dim; i += static_cast<int>(blockDim.x)) {
    float v = 0;
    if (i < 2 * half) {
      const float phase = t[b] * frequencies[i % half];
      v = (i < half) == flip ? cosf(phase) : sinf(phase);
    }
    y[b * dim + i] = from_float<T>(v);
  }
}

Step bind(const OpDesc& op, BindContext& context) {
  const TimestepEmbeddingOp p(op);
  const auto frequencies = context.weights.constant(p.frequencies);
  return with_storage(context.storage, [&]<class T>() -> Step {
    const float* t = context.at<float>(p.t);
    T* y = context.at<T>(p.out);
    return {[=, batch = p.batch, dim = p.dim, flip = p.flip](Stream stream, char*) {
      launch(stream, timestep_embedding<T>, {static_cast<unsigned>(batch), 1, 1}, 128, 0, t,
             frequencies.get(), y, dim, flip);
    }};
  });
}

}  // namespace

const Kernel kTimestepEmbedding = {bind, {"t"}};

}  // namespace latent_edge::gpu
