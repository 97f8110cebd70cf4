// group_norm: y = silu?((x − μ)·rsqrt(σ² + eps)·weight + bias), arXiv:1803.08494
// μ, σ² over each (n, group): all positions × C/G channels
// x [N,...,C1] ⊕ x2 [N,...,C2] → y [N,...,C1+C2] in the storage's type; weight, bias [C] float32; attrs: groups, eps, silu
// Two launches, each block a chunk of one image's positions, so that an image of 32 groups fills the chip. The first
// sums each chunk about one of its values; the second puts the chunks together (doi:10.1080/00031305.1983.10483115),
// every block for itself, and normalizes. Reads x twice, writes y once: bound by bandwidth.
#include "../ops/group_norm.h"
#include "bind.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

constexpr int kThreads = 256;

template <class T>
struct Source {
  const T *x, *x2;
  int64_t positions;
  int c1, c2, groups, chunk;  // chunk: positions of a block

  __device__ int channels() const { return c1 + c2; }
  // Of channel c at a position of image blockIdx.y.
  __device__ const T* at(int64_t position, int c) const {
    const int64_t row = blockIdx.y * positions + position;
    return c < c1 ? x + row * c1 + c : x2 + row * c2 + (c - c1);
  }
  __device__ int64_t first() const { return static_cast<int64_t>(blockIdx.x) * chunk; }
  __device__ int count() const {
    const int64_t left = positions - first();
    return left < chunk ? static_cast<int>(left) : chunk;
  }
};

// Mean and sum of squared distances from it, of one chunk and group.
struct Moments {
  float mean, spread;
};

// How a block's threads lie over a chunk: `width` columns of kCount channels, `rows` positions at a time.
template <int kCount>
struct Layout {
  int columns, width, rows, column, row;
  __device__ explicit Layout(int channels)
      : columns(channels / kCount),
        width(columns < kThreads ? columns : kThreads),
        rows(kThreads / width),
        column(static_cast<int>(threadIdx.x) % width),
        row(static_cast<int>(threadIdx.x) / width) {}
};

// partial [N][chunks][groups]
template <class T, int kCount>
__global__ void __launch_bounds__(kThreads) group_norm_sums(Source<T> source, Moments* partial) {
  const int channels = source.channels(), size = channels / source.groups, count = source.count();
  const int64_t first = source.first();
  float* sums = &shared_memory<float>();  // [2][C]
  float* own = sums + 2 * channels;       // [2][kCount][threads]
  const Layout<kCount> at(channels);
  for (int column0 = 0; column0 < at.columns; column0 += at.width) {
    const int c = (column0 + at.column) * kCount;
    const bool inside = at.row < at.rows && c < channels;
    float shift[kCount], sum[kCount], square[kCount];
#pragma unroll
    for (int j = 0; j < kCount; j++) {
      shift[j] = inside ? to_float(*source.at(first, (c + j) / size * size)) : 0;
      sum[j] = square[j] = 0;
    }
    if (inside)
      for (int p = at.row; p < count; p += at.rows) {
        const auto from = load<Vec<T, kCount>>(source.at(first + p, c));
#pragma unroll
        for (int j = 0; j < kCount; j++) {
          const float d = to_float(from.at[j]) - shift[j];
          sum[j] += d, square[j] += d * d;
        }
      }
#pragma unroll
    for (int j = 0; j < kCount; j++) {
      own[j * kThreads + threadIdx.x] = sum[j];
      own[(kCount + j) * kThreads + threadIdx.x] = square[j];
    }
    sync_block();
    if (at.row == 0 && c < channels)
      for (int j = 0; j < 2 * kCount; j++) {
        float total = 0;
        for (int r = 0; r < at.rows; r++) total += own[j * kThreads + r * at.width + at.column];
        sums[j / kCount * channels + c + j % kCount] = total;
      }
    sync_block();
  }
  const float n = static_cast<float>(count) * static_cast<float>(size);
  for (int g = warp(); g < source.groups; g += kThreads / kLanes) {
    float sum = 0, square = 0;
    for (int c = g * size + lane(); c < (g + 1) * size; c += kLanes)
      sum += sums[c], square += sums[channels + c];
    sum = warp_sum(sum), square = warp_sum(square);
    if (lane() == 0)
      partial[(static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * source.groups + g] = {
          to_float(*source.at(first, g * size)) + sum / n, fmaxf(square - sum * sum / n, 0)};
  }
}

template <class T, int kCount>
__global__ void __launch_bounds__(kThreads, 2)
    group_norm_apply(Source<T> source, const Moments* partial, const float* weight, const float* bias, T* y,
                     float eps, bool with_silu) {
  const int channels = source.channels(), size = channels / source.groups, count = source.count();
  const int64_t first = source.first();
  float* means = &shared_memory<float>();  // [groups]
  float* inverses = means + source.groups;
  const int chunks = static_cast<int>(gridDim.x);
  const auto positions_of = [&](int i) {
    const int64_t left = source.positions - static_cast<int64_t>(i) * source.chunk;
    return static_cast<float>(left < source.chunk ? left : source.chunk);
  };
  for (int g = warp(); g < source.groups; g += kThreads / kLanes) {
    const Moments* from = partial + static_cast<int64_t>(blockIdx.y) * chunks * source.groups + g;
    const float reference = from[0].mean, all = static_cast<float>(source.positions);
    float mean = 0, spread = 0;  // the mean's distance from the first chunk's: nothing cancels
    for (int i = lane(); i < chunks; i += kLanes)
      mean += (from[static_cast<int64_t>(i) * source.groups].mean - reference) * positions_of(i);
    mean = warp_sum(mean) / all;
    for (int i = lane(); i < chunks; i += kLanes) {
      const Moments m = from[static_cast<int64_t>(i) * source.groups];
      const float away = m.mean - reference - mean;
      spread += m.spread + away * away * positions_of(i) * static_cast<float>(size);
    }
    spread = warp_sum(spread) / (all * static_cast<float>(size));
    if (lane() == 0) means[g] = reference + mean, inverses[g] = rsqrtf(spread + eps);
  }
  sync_block();
  const Layout<kCount> at(channels);
  if (at.row >= at.rows) return;
  y += (blockIdx.y * source.positions + first) * channels;
  for (int column = at.column; column < at.columns; column += at.width) {
    const int c = column * kCount;
    float mean[kCount], scale[kCount], shift[kCount];
#pragma unroll
    for (int j = 0; j < kCount; j++) {
      const int g = (c + j) / size;
      mean[j] = means[g], scale[j] = inverses[g] * weight[c + j], shift[j] = bias[c + j];
    }
#pragma unroll 1
    for (int p = at.row; p < count; p += at.rows) {
      const auto from = load<Vec<T, kCount>>(source.at(first + p, c));
      Vec<T, kCount> to;
#pragma unroll
      for (int j = 0; j < kCount; j++) {
        const float v = (to_float(from.at[j]) - mean[j]) * scale[j] + shift[j];
        to.at[j] = from_float<T>(with_silu ? silu(v) : v);
      }
      store(y + static_cast<int64_t>(p) * channels + c, to);
    }
  }
}

template <class T, int kCount>
Step make(const GroupNormOp& p, const OpDesc& op, BindContext& context) {
  const auto weight = raw_weight<float>(context, op.weight("weight"));
  const auto bias = raw_weight<float>(context, op.weight("bias"));
  // Two blocks for each multiprocessor, as long as there is something to do for them.
  const int64_t wanted = ceil_div(2 * context.chip.multiprocessors, p.images);
  const int64_t most = ceil_div(p.positions * p.channels, 4 * kThreads * kCount);
  const int64_t chunk = ceil_div(p.positions, wanted < most ? wanted : most);
  const int64_t chunks = ceil_div(p.positions, chunk);
  const Source<T> source{context.at<T>(p.x),     context.at<T>(p.x2),    p.positions,
                         static_cast<int>(p.c1), static_cast<int>(p.c2), static_cast<int>(p.groups),
                         static_cast<int>(chunk)};
  T* y = context.at<T>(p.out);
  const Dim3 grid{static_cast<unsigned>(chunks), static_cast<unsigned>(p.images), 1};
  const size_t shared_sums = (2 * p.channels + 2 * kCount * kThreads) * sizeof(float);
  const auto run = [=, eps = p.eps, silu = p.silu](Stream stream, char* scratch) {
    auto* partial = reinterpret_cast<Moments*>(scratch);
    launch(stream, group_norm_sums<T, kCount>, grid, kThreads, shared_sums, source, partial);
    launch(stream, group_norm_apply<T, kCount>, grid, kThreads, 2 * source.groups * sizeof(float), source,
           partial, weight.get(), bias.get(), y, eps, silu);
  };
  return {run, static_cast<size_t>(p.images * chunks * p.groups) * sizeof(Moments)};
}

Step bind(const OpDesc& op, BindContext& context) {
  const GroupNormOp p(op);
  return with_storage(context.storage, [&]<class T>() -> Step {
    return p.c1 % kWide<T> == 0 && p.c2 % kWide<T> == 0 ? make<T, kWide<T>>(p, op, context)
                                                        : make<T, 1>(p, op, context);
  });
}

}  // namespace

const Kernel kGroupNorm = {bind};

}  // namespace latent_edge::gpu
