// embedding: y[b,t] = (weight ⊕ learned)[ids[b,t]] + position[t]; ⊕ joins rows
// ids int32 [B,T]; weight [V,C], learned? [E,C], position [P,C] with P ≥ T; y [B,T,C].
// An id outside of [0,V+E) is an error.
#include "../ops/embedding.h"

#include "kernels.h"

namespace latent_edge {
namespace {

class Embedding : public Step {
 public:
  Embedding(const OpDesc& op, BindContext& context)
      : p_(op),
        weight_(context.weights.raw(op.weight("weight"))),
        position_(context.weights.raw(op.weight("position"))) {}

  void run(char* arena, char*, ThreadPool&) const override {
    const int32_t* ids = reinterpret_cast<const int32_t*>(arena + p_.ids.offset);
    const float* learned = floats(arena, p_.learned);
    float* y = floats(arena, p_.out);
    const int64_t channels = p_.channels;
    for (int64_t i = 0; i < p_.batch * p_.tokens; i++) {
      if (ids[i] < 0 || ids[i] >= p_.rows) fail(p_.outside(ids[i]));
      const float* word = ids[i] < p_.vocabulary ? weight_->data + ids[i] * channels
                                                 : learned + (ids[i] - p_.vocabulary) * channels;
      const float* place = position_->data + i % p_.tokens * channels;
      for (int64_t c = 0; c < channels; c++) y[i * channels + c] = word[c] + place[c];
    }
  }

 private:
  EmbeddingOp p_;
  std::shared_ptr<const PackedWeight> weight_, position_;
};

}  // namespace

const Kernel kEmbedding = kernel_of<Embedding, Embedding>();

}  // namespace latent_edge
