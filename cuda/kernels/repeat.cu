// repeat: y[i·times + j] = x[i], j in [0, times): each image side by side with its copies, in the storage's type
// x [N,..,C], y [N·times,..,C]. One thread 16 bytes of y; element by element where an image is no multiple of that.
// Bound by bandwidth.
#include "../ops/repeat.h"
#include "bind.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

constexpr int kThreads = 256;

// size: elements of an image, a multiple of kCount; n: elements of y.
template <class T, int kCount>
__global__ void repeat(const T* x, T* y, int64_t n, int64_t size, int64_t times) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kCount;
  if (i >= n) return;
  store(y + i, load<Vec<T, kCount>>(x + i / size / times * size + i % size));
}

Step bind(const OpDesc& op, BindContext& context) {
  const RepeatOp p(op);
  return with_storage(context.storage, [&]<class T>() -> Step {
    constexpr int kCount = 16 / sizeof(T);
    const T* x = context.at<T>(p.x);
    T* y = context.at<T>(p.out);
    const int64_t n = elements(p.out.shape);
    const bool aligned = p.size % kCount == 0;
    return {[=, size = p.size, times = p.times](Stream stream, char*) {
      const auto blocks = static_cast<unsigned>(ceil_div(n, kThreads * (aligned ? kCount : 1)));
      launch(stream, aligned ? repeat<T, kCount> : repeat<T, 1>, {blocks, 1, 1}, kThreads, 0, x, y, n, size,
             times);
    }};
  });
}

}  // namespace

const Kernel kRepeat = {bind};

}  // namespace latent_edge::gpu
