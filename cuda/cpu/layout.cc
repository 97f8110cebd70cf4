// to_nhwc, to_nchw: between the callers' layout [N,C,H,W] and the kernels' [N,H,W,C]
// attrs of to_nchw: channels [from, to): those alone (absent: all)
// Bound by bandwidth; run at the border of a plan only.
#include "../ops/layout.h"

#include "gemm.h"
#include "kernels.h"

namespace latent_edge {
namespace {

class ToNhwc : public Step {
 public:
  ToNhwc(const OpDesc& op, BindContext&) : p_(op) {}

  void run(char* arena, char*, ThreadPool& pool) const override {
    const float* x = floats(arena, p_.x);
    float* y = floats(arena, p_.out);
    pool.parallel_for(ceil_div(p_.images * p_.pixels, kBlock), [&](int64_t block, int) {
      const int64_t end = std::min(p_.images * p_.pixels, (block + 1) * kBlock);
      for (int64_t p = block * kBlock; p < end; p++) {
        const float* from = x + p / p_.pixels * p_.channels * p_.pixels + p % p_.pixels;
        for (int64_t c = 0; c < p_.channels; c++) y[p * p_.channels + c] = from[c * p_.pixels];
      }
    });
  }

 private:
  static constexpr int64_t kBlock = 1024;  // pixels
  ToNhwcOp p_;
};

class ToNchw : public Step {
 public:
  ToNchw(const OpDesc& op, BindContext&) : p_(op) {}

  void run(char* arena, char*, ThreadPool& pool) const override {
    const float* x = floats(arena, p_.x);
    float* y = floats(arena, p_.out);
    pool.parallel_for(p_.images * ceil_div(p_.pixels, kLine), [&](int64_t block, int) {
      const int64_t image = block / ceil_div(p_.pixels, kLine);
      const int64_t first = block % ceil_div(p_.pixels, kLine) * kLine;
      const int64_t n = std::min(kLine, p_.pixels - first);
      const float* from = x + (image * p_.pixels + first) * p_.channels + p_.from;
      float* to = y + image * p_.count * p_.pixels + first;
      for (int64_t c = 0; c < p_.count; c++)
        for (int64_t p = 0; p < n; p++) to[c * p_.pixels + p] = from[p * p_.channels + c];
    });
  }

 private:
  static constexpr int64_t kLine = 16;  // pixels, whose floats fill a cache line of a plane
  ToNchwOp p_;
};

}  // namespace

const Kernel kToNhwc = kernel_of<ToNhwc, ToNhwc>();
const Kernel kToNchw = kernel_of<ToNchw, ToNchw>();

}  // namespace latent_edge
