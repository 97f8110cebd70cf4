// layer_norm: y = (x − μ)·rsqrt(σ² + eps)·weight + bias, μ and σ² over the channels of each row; arXiv:1607.06450
// x, y [..., C] in the storage's type; weight, bias [C] float32; sums in float32, σ² about μ.
// One warp a row, kept in registers where C is a multiple of 4 and at most 1280; else read again, from the cache. A
// lane has four neighbouring channels at a time, so that a warp's loads of x, weight and bias have no gaps; all of them
// are on their way before the first is waited for. Bound by bandwidth.
#include "../ops/layer_norm.h"
#include "bind.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

constexpr int kThreads = 128, kRows = kThreads / kLanes;

constexpr int kCount = 4;

// kVectors: of four channels, that a lane holds at most.
template <class T, int kVectors>
__global__ void __launch_bounds__(kThreads)
    layer_norm(const T* x, const float* __restrict__ weight, const float* __restrict__ bias, T* y,
               int64_t rows, int channels, float eps) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRows + warp();
  if (row >= rows) return;
  x += row * channels, y += row * channels;
  Vec<T, kCount> from[kVectors];
  Vec<float, kCount> scale[kVectors], shift[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; i++) {
    const int c = (i * kLanes + lane()) * kCount;
    if (c < channels) from[i] = load<Vec<T, kCount>>(x + c);
  }
#pragma unroll
  for (int i = 0; i < kVectors; i++) {
    const int c = (i * kLanes + lane()) * kCount;
    if (c < channels)
      scale[i] = load<Vec<float, kCount>>(weight + c), shift[i] = load<Vec<float, kCount>>(bias + c);
  }
  float sum = 0, square = 0;
#pragma unroll
  for (int i = 0; i < kVectors; i++)
    if ((i * kLanes + lane()) * kCount < channels)
#pragma unroll
      for (int j = 0; j < kCount; j++) sum += to_float(from[i].at[j]);
  const float mean = warp_sum(sum) / static_cast<float>(channels);
#pragma unroll
  for (int i = 0; i < kVectors; i++)
    if ((i * kLanes + lane()) * kCount < channels)
#pragma unroll
      for (int j = 0; j < kCount; j++) {
        const float d = to_float(from[i].at[j]) - mean;
        square += d * d;
      }
  const float inverse = rsqrtf(warp_sum(square) / static_cast<float>(channels) + eps);
#pragma unroll
  for (int i = 0; i < kVectors; i++) {
    const int c = (i * kLanes + lane()) * kCount;
    if (c < channels) {
      Vec<T, kCount> to;
#pragma unroll
      for (int j = 0; j < kCount; j++)
        to.at[j] =
            from_float<T>((to_float(from[i].at[j]) - mean) * inverse * scale[i].at[j] + shift[i].at[j]);
      store(y + c, to);
    }
  }
}

// Any number of channels.
template <class T>
__global__ void __launch_bounds__(kThreads) layer_norm_any(const T* x, const float* weight, const float* bias,
                                                           T* y, int64_t rows, int channels, float eps) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRows + warp();
  if (row >= rows) return;
  x += row * channels, y += row * channels;
  float sum = 0, square = 0;
  for (int c = lane(); c < channels; c += kLanes) sum += to_float(x[c]);
  const float mean = warp_sum(sum) / static_cast<float>(channels);
  for (int c = lane(); c < channels; c += kLanes) square += (to_float(x[c]) - mean) * (to_float(x[c]) - mean);
  const float inverse = rsqrtf(warp_sum(square) / static_cast<float>(channels) + eps);
  for (int c = lane(); c < channels; c += kLanes)
    y[c] = from_float<T>((to_float(x[c]) - mean) * inverse * weight[c] + bias[c]);
}

template <class T>
auto choose(int64_t channels) {
  constexpr int64_t kAll = kLanes * kCount;
  if (channels % kCount) return layer_norm_any<T>;
  if (channels <= 3 * kAll) return layer_norm<T, 3>;
  if (channels <= 6 * kAll) return layer_norm<T, 6>;
  if (channels <= 10 * kAll) return layer_norm<T, 10>;
  return layer_norm_any<T>;
}

Step bind(const OpDesc& op, BindContext& context) {
  const LayerNormOp p(op);
  const auto weight = raw_weight<float>(context, op.weight("weight"));
  const auto bias = raw_weight<float>(context, op.weight("bias"));
  return with_storage(context.storage, [&]<class T>() -> Step {
    const T* x = context.at<T>(p.x);
    T* y = context.at<T>(p.out);
    return {[=, rows = p.rows, channels = p.channels, eps = p.eps](Stream stream, char*) {
      launch(stream, choose<T>(channels), {static_cast<unsigned>(ceil_div(rows, kRows)), 1, 1}, kThreads, 0,
             x, weight.get(), bias.get(), y, rows, channels, eps);
    }};
  });
}

}  // namespace

const Kernel kLayerNorm = {bind};

}  // namespace latent_edge::gpu
