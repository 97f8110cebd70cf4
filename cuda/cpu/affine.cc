// affine: y = scale·x + shift. x, y of any one shape; attrs: scale, shift. Bound by bandwidth; run at the
// border of a plan, on a few channels.
#include "../ops/elementwise.h"
#include "gemm.h"
#include "kernels.h"

namespace latent_edge {
namespace {

class Affine : public Step {
 public:
  Affine(const OpDesc& op, BindContext&) : p_(op) {}

 protected:
  AffineOp p_;
};

class Fast : public Affine {
 public:
  using Affine::Affine;
  void run(char* arena, char*, ThreadPool& pool) const override {
    const float* x = floats(arena, p_.x);
    float* y = floats(arena, p_.out);
    const int64_t n = elements(p_.x.shape);
    const float scale = static_cast<float>(p_.scale), shift = static_cast<float>(p_.shift);
    constexpr int64_t kBlock = 16384;
    pool.parallel_for(ceil_div(n, kBlock), [&](int64_t block, int) {
      const int64_t end = std::min(n, (block + 1) * kBlock);
      for (int64_t i = block * kBlock; i < end; i++) y[i] = scale * x[i] + shift;
    });
  }
};

class Reference : public Affine {
 public:
  using Affine::Affine;
  void run(char* arena, char*, ThreadPool&) const override {
    const float* x = floats(arena, p_.x);
    float* y = floats(arena, p_.out);
    for (int64_t i = 0; i < elements(p_.x.shape); i++) y[i] = static_cast<float>(p_.scale * x[i] + p_.shift);
  }
};

}  // namespace

const Kernel kAffine = kernel_of<Fast, Reference>();

}  // namespace latent_edge
