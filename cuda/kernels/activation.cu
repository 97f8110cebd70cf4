// activation: y = f(x), f silu, gelu (with the exact erf), quick_gelu, relu or tanh; x, y of any one shape and of the
// storage's type. Bound by bandwidth.
#include "../ops/elementwise.h"
#include "elementwise.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

struct Activate {
  Activation activation;
  __device__ float operator()(float x) const { return activate(x, activation); }
};

Step bind(const OpDesc& op, BindContext& context) {
  const ActivationOp p(op);
  return with_storage(context.storage, [&]<class T>() -> Step {
    const T* x = context.at<T>(p.x);
    T* y = context.at<T>(p.out);
    return {[=, n = elements(p.x.shape), f = Activate{p.activation}](Stream stream, char*) {
      launch_elementwise(stream, x, y, n, f);
    }};
  });
}

}  // namespace

const Kernel kActivation = {bind};

}  // namespace latent_edge::gpu
