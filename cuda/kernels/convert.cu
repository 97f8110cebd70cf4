// convert: the same values in another type; what crosses the border of a plan. Bound by bandwidth.
#include "elementwise.h"

namespace latent_edge::gpu {
namespace {

struct Same {
  __device__ float operator()(float x) const { return x; }
};

}  // namespace

void convert(Stream stream, const void* from, Scalar from_type, void* to, Scalar to_type, size_t n) {
  with_scalar(from_type, [&]<class From>() {
    with_scalar(to_type, [&]<class To>() {
      launch_elementwise(stream, static_cast<const From*>(from), static_cast<To*>(to),
                         static_cast<int64_t>(n), Same());
    });
  });
}

}  // namespace latent_edge::gpu
