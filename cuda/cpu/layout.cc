// to_nhwc, to_nchw: between the callers' layout [N,C,H,W] and the kernels' [N,H,W,C]. Bound by bandwidth; run
// at the border of a plan only, on a few channels.
#include "gemm.h"
#include "kernels.h"

namespace latent_edge {
namespace {

// y[n][b][a] = x[n][a][b]
class Transpose : public Step {
 public:
  Transpose(const TensorRef& x, const TensorRef& out, int64_t a, int64_t b)
      : x_(x), out_(out), a_(a), b_(b) {}

  void run(char* arena, char*, ThreadPool& pool) const override {
    const float* x = floats(arena, x_);
    float* y = floats(arena, out_);
    constexpr int64_t kBlock = 64;
    const int64_t blocks = ceil_div(b_, kBlock);
    pool.parallel_for(x_.shape[0] * blocks, [&](int64_t task, int) {
      const int64_t n = task / blocks * a_ * b_, first = task % blocks * kBlock;
      for (int64_t j = first; j < std::min(b_, first + kBlock); j++)
        for (int64_t i = 0; i < a_; i++) y[n + j * a_ + i] = x[n + i * b_ + j];
    });
  }

 private:
  TensorRef x_, out_;
  int64_t a_, b_;
};

template <bool to_nhwc>
std::unique_ptr<Step> bind(const OpDesc& op, BindContext&) {
  const TensorRef& x = op.input("x");
  const Shape& s = x.shape;
  expect(s.size() == 4, "x of four dimensions", s);
  if (to_nhwc) {
    expect_shape("output", op.output.shape, {s[0], s[2], s[3], s[1]});
    return std::make_unique<Transpose>(x, op.output, s[1], s[2] * s[3]);
  }
  expect_shape("output", op.output.shape, {s[0], s[3], s[1], s[2]});
  return std::make_unique<Transpose>(x, op.output, s[1] * s[2], s[3]);
}

}  // namespace

const Kernel kToNhwc = {bind<true>, bind<true>};
const Kernel kToNchw = {bind<false>, bind<false>};

}  // namespace latent_edge
