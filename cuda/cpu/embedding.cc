// embedding: y[b,t] = (weight ⊕ learned)[ids[b,t]] + position[t]; ⊕ joins rows
// ids int32 [B,T]; weight [V,C], learned? [E,C], position [P,C] with P ≥ T; y [B,T,C].
// An id outside of [0,V+E) is an error.
#include "kernels.h"

namespace latent_edge {
namespace {

class Embedding : public Step {
 public:
  Embedding(const OpDesc& op, BindContext& context)
      : ids_(op.input("ids")),
        learned_(optional_input(op, "learned")),
        out_(op.output),
        weight_(context.weights.raw(op.weight("weight"))),
        position_(context.weights.raw(op.weight("position"))) {
    const Shape &w = op.weight("weight").shape, &p = op.weight("position").shape;
    expect(ids_.dtype == DType::i32 && ids_.shape.size() == 2, "int32 ids [B, T]", ids_.shape);
    expect(w.size() == 2, "weight [V, C]", w);
    rows_ = vocabulary_ = w[0], channels_ = w[1];
    if (learned_) {
      expect(learned_->shape.size() == 2 && learned_->shape[1] == channels_,
             "learned [E, " + std::to_string(channels_) + "]", learned_->shape);
      rows_ += learned_->shape[0];
    }
    expect(p.size() == 2 && p[0] >= ids_.shape[1] && p[1] == channels_,
           "position [at least " + std::to_string(ids_.shape[1]) + ", " + std::to_string(channels_) + "]", p);
    expect_shape("output", out_.shape, {ids_.shape[0], ids_.shape[1], channels_});
  }

  void run(char* arena, char*, ThreadPool&) const override {
    const int32_t* ids = reinterpret_cast<const int32_t*>(arena + ids_.offset);
    const float* learned = floats(arena, learned_);
    float* y = floats(arena, out_);
    for (int64_t i = 0; i < elements(ids_.shape); i++) {
      if (ids[i] < 0 || ids[i] >= rows_)
        fail("expected token ids in 0…" + std::to_string(rows_ - 1) + ", received " + std::to_string(ids[i]));
      const float* word = ids[i] < vocabulary_ ? weight_->data + ids[i] * channels_
                                               : learned + (ids[i] - vocabulary_) * channels_;
      const float* place = position_->data + i % ids_.shape[1] * channels_;
      for (int64_t c = 0; c < channels_; c++) y[i * channels_ + c] = word[c] + place[c];
    }
  }

 private:
  TensorRef ids_;
  std::optional<TensorRef> learned_;
  TensorRef out_;
  int64_t vocabulary_, rows_, channels_;
  std::shared_ptr<const PackedWeight> weight_, position_;
};

}  // namespace

const Kernel kEmbedding = kernel_of<Embedding, Embedding>();

}  // namespace latent_edge
