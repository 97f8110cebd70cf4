// to_nhwc, to_nchw: between the callers' layout [N,C,H,W] and the kernels' [N,H,W,C]
// attrs of to_nchw: channels [from, to): those alone (absent: all)
// Bound by bandwidth; run at the border of a plan only, on a few channels.
#include "gemm.h"
#include "kernels.h"

namespace latent_edge {
namespace {

class ToNhwc : public Step {
 public:
  ToNhwc(const OpDesc& op, BindContext&) : x_(op.input("x")), out_(op.output) {
    const Shape& s = x_.shape;
    expect(s.size() == 4, "x of four dimensions [N, C, H, W]", s);
    expect_shape("output", out_.shape, {s[0], s[2], s[3], s[1]});
    channels_ = s[1], pixels_ = s[2] * s[3];
  }

  void run(char* arena, char*, ThreadPool& pool) const override {
    const float* x = floats(arena, x_);
    float* y = floats(arena, out_);
    pool.parallel_for(ceil_div(x_.shape[0] * pixels_, kBlock), [&](int64_t block, int) {
      const int64_t end = std::min(x_.shape[0] * pixels_, (block + 1) * kBlock);
      for (int64_t p = block * kBlock; p < end; p++) {
        const float* from = x + p / pixels_ * channels_ * pixels_ + p % pixels_;
        for (int64_t c = 0; c < channels_; c++) y[p * channels_ + c] = from[c * pixels_];
      }
    });
  }

 private:
  static constexpr int64_t kBlock = 1024;  // pixels
  TensorRef x_, out_;
  int64_t channels_, pixels_;
};

class ToNchw : public Step {
 public:
  ToNchw(const OpDesc& op, BindContext&) : x_(op.input("x")), out_(op.output) {
    const Shape& s = x_.shape;
    expect(s.size() == 4, "x of four dimensions [N, H, W, C]", s);
    pixels_ = s[1] * s[2], from_ = 0, count_ = s[3];
    if (const auto range = op.integers("channels"); !range.empty()) {
      expect(range.size() == 2 && 0 <= range[0] && range[0] < range[1] && range[1] <= s[3],
             "channels [from, to) within 0…" + std::to_string(s[3]), range);
      from_ = range[0], count_ = range[1] - range[0];
    }
    expect_shape("output", out_.shape, {s[0], count_, s[1], s[2]});
  }

  void run(char* arena, char*, ThreadPool& pool) const override {
    const float* x = floats(arena, x_);
    float* y = floats(arena, out_);
    const int64_t stride = x_.shape[3];
    pool.parallel_for(x_.shape[0] * count_, [&](int64_t plane, int) {
      const float* from = x + plane / count_ * pixels_ * stride + from_ + plane % count_;
      for (int64_t p = 0; p < pixels_; p++) y[plane * pixels_ + p] = from[p * stride];
    });
  }

 private:
  TensorRef x_, out_;
  int64_t pixels_, from_, count_;
};

}  // namespace

const Kernel kToNhwc = kernel_of<ToNhwc, ToNhwc>();
const Kernel kToNchw = kernel_of<ToNchw, ToNchw>();

}  // namespace latent_edge
