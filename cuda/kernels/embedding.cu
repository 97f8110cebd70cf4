// embedding: y[b,t] = (weight ⊕ learned)[ids[b,t]] + position[t]; ⊕ joins rows
// ids int32 [B,T]; learned? [E,C], y [B,T,C] in the storage's type; weight [V,C] in the storage's type, position [P,C]
// float32. An id outside of [0,V+E) is complained about, its row is zero. Bound by bandwidth.
#include "../ops/embedding.h"
#include "bind.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

template <class T>
__global__ void embedding(const int32_t* ids, const T* weight, const T* learned, const float* position, T* y,
                          int tokens, int channels, int vocabulary, int rows, int32_t* complaint) {
  const int i = static_cast<int>(blockIdx.x), id = ids[i];
  const bool known = id >= 0 && id < rows;
  if (!known && threadIdx.x == 0) *complaint = id;
  const T* word = id < vocabulary ? weight + static_cast<int64_t>(id) * channels
                                  : learned + static_cast<int64_t>(id - vocabulary) * channels;
  const float* place = position + static_cast<int64_t>(i % tokens) * channels;
  for (int c = static_cast<int>(threadIdx.x); c < channels; c += static_cast<int>(blockDim.x))
    y[static_cast<int64_t>(i) * channels + c] = from_float<T>(known ? to_float(word[c]) + place[c] : 0);
}

Step bind(const OpDesc& op, BindContext& context) {
  const EmbeddingOp p(op);
  const auto position = raw_weight<float>(context, op.weight("position"));
  return with_storage(context.storage, [&]<class T>() -> Step {
    const auto weight = raw_weight<T>(context, op.weight("weight"));
    const int32_t* ids = context.at<int32_t>(p.ids);
    const T* learned = context.at<T>(p.learned);
    T* y = context.at<T>(p.out);
    const auto run = [=, complaint = context.complaint](Stream stream, char*) {
      launch(stream, embedding<T>, {static_cast<unsigned>(p.batch * p.tokens), 1, 1}, 128, 0, ids,
             weight.get(), learned, position.get(), y, p.tokens, p.channels, p.vocabulary, p.rows, complaint);
    };
    return {run, 0, [p](int32_t id) { return p.outside(id); }};
  });
}

}  // namespace

const Kernel kEmbedding = {bind};

}  // namespace latent_edge::gpu
