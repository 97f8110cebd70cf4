// embedding: y[b,t] = (weight ⊕ learned)[ids[b,t]] + position[t]; ⊕ joins rows
// ids int32 [B,T]; weight [V,C], learned? [E,C], position [P,C] with P ≥ T; y [B,T,C].
// An id outside of [0,V+E) is an error.
#include "../ops/embedding.h"

#include <algorithm>
#include <cstring>

#include "kernels.h"

namespace latent_edge {
namespace {

class Embedding : public Step {
 public:
  Embedding(const OpDesc& op, BindContext& context)
      : p_(op),
        weight_(context.weights.get_narrow(
            op.weight("weight"), "rows", p_.vocabulary * p_.channels,
            [n = p_.vocabulary * p_.channels](Element element, const void* raw, void* rows) {
              std::memcpy(rows, raw, n * element_bytes(element));
            })),
        position_(context.weights.raw(op.weight("position"))) {}

  void run(char* arena, char*, ThreadPool&) const override {
    const int32_t* ids = reinterpret_cast<const int32_t*>(arena + p_.ids.offset);
    const char* words = reinterpret_cast<const char*>(weight_->data);
    const float* learned = floats(arena, p_.learned);
    float* y = floats(arena, p_.out);
    const int64_t channels = p_.channels;
    for (int64_t i = 0; i < p_.batch * p_.tokens; i++) {
      if (ids[i] < 0 || ids[i] >= p_.rows) fail(p_.outside(ids[i]));
      float* to = y + i * channels;
      if (ids[i] < p_.vocabulary)
        to_float32(weight_->element, words + ids[i] * channels * element_bytes(weight_->element), to,
                   channels);
      else
        std::copy_n(learned + (ids[i] - p_.vocabulary) * channels, channels, to);
      const float* place = position_->data + i % p_.tokens * channels;
      for (int64_t c = 0; c < channels; c++) to[c] += place[c];
    }
  }

 private:
  EmbeddingOp p_;
  std::shared_ptr<const PackedWeight> weight_, position_;
};

}  // namespace

const Kernel kEmbedding = kernel_of<Embedding, Embedding>();

}  // namespace latent_edge
