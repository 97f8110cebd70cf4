// quantize: y = the row of the codebook nearest to x, Σ_c (x_c − e_c)² least; the first of equals. arXiv:1711.00937
// x, y [..., C] in the storage's type; codebook [V,C] float32, y is its row rounded.
// One warp a row, entries over its lanes; distances in float32 of the differences as they are. Bound by arithmetic.
#include "../ops/quantize.h"
#include "bind.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

constexpr int kThreads = 128;

template <class T>
__global__ void quantize(const T* x, const float* codebook, T* y, int64_t rows, int channels, int entries) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads / kLanes) + warp();
  if (row >= rows) return;
  const T* from = x + row * channels;
  float least = INFINITY;
  int best = 0;
  for (int e = lane(); e < entries; e += kLanes) {
    float distance = 0;
    for (int c = 0; c < channels; c++) {
      const float d = to_float(from[c]) - codebook[static_cast<int64_t>(e) * channels + c];
      distance += d * d;
    }
    if (distance < least) least = distance, best = e;
  }
  for (int mask = kLanes / 2; mask > 0; mask /= 2) {
    const float other = shuffle_xor(least, mask);
    const int entry = shuffle_xor(best, mask);
    if (other < least || (other == least && entry < best)) least = other, best = entry;
  }
  for (int c = lane(); c < channels; c += kLanes)
    y[row * channels + c] = from_float<T>(codebook[static_cast<int64_t>(best) * channels + c]);
}

Step bind(const OpDesc& op, BindContext& context) {
  const QuantizeOp p(op);
  const auto codebook = raw_weight<float>(context, op.weight("codebook"));
  return with_storage(context.storage, [&]<class T>() -> Step {
    const T* x = context.at<T>(p.x);
    T* y = context.at<T>(p.out);
    return {[=, rows = p.rows, channels = p.channels, entries = p.entries](Stream stream, char*) {
      launch(stream, quantize<T>, {static_cast<unsigned>(ceil_div(rows, kThreads / kLanes)), 1, 1}, kThreads,
             0, x, codebook.get(), y, rows, channels, entries);
    }};
  });
}

}  // namespace

const Kernel kQuantize = {bind};

}  // namespace latent_edge::gpu
