// convert: the same values in another type; what crosses the border of a plan. Bound by bandwidth.
#include "elementwise.h"

namespace latent_edge::gpu {
namespace {

struct Same {
  __device__ float operator()(float x) const { return x; }
};

template <class F>
void with_scalar(Scalar e, F f) {
  switch (e) {
    case Scalar::f16:
      return f.template operator()<f16>();
    case Scalar::bf16:
      return f.template operator()<bf16>();
    case Scalar::f32:
      return f.template operator()<float>();
    case Scalar::i32:
      throw std::runtime_error("expected values of a floating-point type, received int32");
  }
}

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
