// What an adapter adds to a weight: W += scale · Δ.
// LoRA (arXiv:2106.09685): Δ = up·down. LoHa (arXiv:2108.06098): Δ = (up₁·down₁) ∘ (up₂·down₂).
// LoKr (arXiv:2309.14859): Δ = F₁ ⊗ F₂. Convolutions are matrices [N, K·kh·kw].
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "account.h"
#include "buffer.h"
#include "weight_source.h"

namespace latent_edge {

// A matrix, or convolution, as it is in `whole` or as a product:
//   up [N, r] · down [r, ...]
//   up [N, r] · mid [r, s, kh, kw] · down [s, K], each tap on its own: [N, K, kh, kw]
struct DeltaFactor {
  std::optional<WeightSource> whole, up, down, mid;

  std::vector<WeightSource*> tensors();

  // Of the product. Throws BadWeights naming a tensor that does not fit the others.
  Shape shape() const;

  // The product, row-major; memory counts towards `counter`.
  Buffer evaluate(ThreadPool& pool, std::atomic<int64_t>* counter) const;
};

enum class Combine { none, hadamard, kronecker };

struct WeightDelta {
  std::string weight;
  double scale = 1;
  Combine combine = Combine::none;
  std::vector<DeltaFactor> factors;  // one; two where they are combined

  // Throws BadWeights unless Δ has the shape of the weight.
  void check(const Shape& weight_shape) const;

  // w [N, ...] += scale · Δ, on all threads. Throws BadWeights where that is not finite.
  void add_to(float* w, ThreadPool& pool, std::atomic<int64_t>* counter) const;

 private:
  Shape shape() const;
};

}  // namespace latent_edge
