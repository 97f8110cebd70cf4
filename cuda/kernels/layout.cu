// to_nhwc, to_nchw: between the callers' layout [N,C,H,W] and the kernels' [N,H,W,C], in the storage's type
// attrs of to_nchw: channels [from, to): those alone
// One thread an element of y: run at the border of a plan only, on a few channels.
#include "../ops/layout.h"
#include "bind.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void to_nhwc(const T* x, T* y, int64_t n, int64_t channels, int64_t pixels) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n) return;
  const int64_t c = i % channels, p = i / channels;
  y[i] = x[(p / pixels * channels + c) * pixels + p % pixels];
}

// y has `count` of x's channels, the first of them at x.
template <class T>
__global__ void to_nchw(const T* x, T* y, int64_t n, int64_t channels, int64_t count, int64_t pixels) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n) return;
  const int64_t p = i % pixels, c = i / pixels % count, image = i / (pixels * count);
  y[i] = x[(image * pixels + p) * channels + c];
}

Step bind_to_nhwc(const OpDesc& op, BindContext& context) {
  const ToNhwcOp p(op);
  return with_storage(context.storage, [&]<class T>() -> Step {
    const T* x = context.at<T>(p.x);
    T* y = context.at<T>(p.out);
    const int64_t n = elements(p.out.shape);
    return {[=, channels = p.channels, pixels = p.pixels](Stream stream, char*) {
      launch(stream, to_nhwc<T>, {static_cast<unsigned>(ceil_div(n, kThreads)), 1, 1}, kThreads, 0, x, y, n,
             channels, pixels);
    }};
  });
}

Step bind_to_nchw(const OpDesc& op, BindContext& context) {
  const ToNchwOp p(op);
  return with_storage(context.storage, [&]<class T>() -> Step {
    const T* x = context.at<T>(p.x) + p.from;
    T* y = context.at<T>(p.out);
    const int64_t n = elements(p.out.shape);
    return {[=, channels = p.channels, count = p.count, pixels = p.pixels](Stream stream, char*) {
      launch(stream, to_nchw<T>, {static_cast<unsigned>(ceil_div(n, kThreads)), 1, 1}, kThreads, 0, x, y, n,
             channels, count, pixels);
    }};
  });
}

}  // namespace

const Kernel kToNhwc = {bind_to_nhwc};
const Kernel kToNchw = {bind_to_nchw};

}  // namespace latent_edge::gpu
