// affine: y = scale·x + shift; x, y of any one shape and of the storage's type. Bound by bandwidth.
#include "../ops/elementwise.h"
#include "elementwise.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

struct ScaleShift {
  float scale, shift;
  __device__ float operator()(float x) const { return scale * x + shift; }
};

Step bind(const OpDesc& op, BindContext& context) {
  const AffineOp p(op);
  return with_storage(context.storage, [&]<class T>() -> Step {
    const T* x = context.at<T>(p.x);
    T* y = context.at<T>(p.out);
    const ScaleShift f{static_cast<float>(p.scale), static_cast<float>(p.shift)};
    return {[=, n = elements(p.x.shape)](Stream stream, char*) { launch_elementwise(stream, x, y, n, f); }};
  });
}

}  // namespace

const Kernel kAffine = {bind};

}  // namespace latent_edge::gpu
