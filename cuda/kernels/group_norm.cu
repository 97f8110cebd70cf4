// group_norm: y = silu?((x − μ)·rsqrt(σ² + eps)·weight + bias), arXiv:1803.08494
// μ, σ² over each (n, group): all positions × C/G channels
// x [N,...,C1] ⊕ x2 [N,...,C2] → y [N,...,C1+C2] in the storage's type; weight, bias [C] float32; attrs: groups, eps, silu
// A small group is one block's, which reads it once and holds it in registers. Large ones take two launches, each
// block a chunk of one image's positions, so that an image of 32 groups fills the chip. The first sums each chunk about
// one of its values; the second puts the chunks together (doi:10.1080/00031305.1983.10483115), every block for itself,
// and normalizes. These read x twice, write y once. Bound by bandwidth.
#include <algorithm>
#include <optional>

#include "../ops/group_norm.h"
#include "bind.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

// x ⊕ x2
template <class T>
struct Source {
  const T *x, *x2;
  int64_t positions;
  int c1, c2, groups;

  __device__ int channels() const { return c1 + c2; }
  __device__ int size() const { return channels() / groups; }
};

// Channel c of image blockIdx.y and those that follow it.
template <class T>
struct Column {
  const T* from;
  int step;
  __device__ Column(const Source<T>& s, int c)
      : from(c < s.c1 ? s.x + blockIdx.y * s.positions * s.c1 + c
                      : s.x2 + blockIdx.y * s.positions * s.c2 + (c - s.c1)),
        step(c < s.c1 ? s.c1 : s.c2) {}
  __device__ const T* at(int64_t position) const { return from + position * step; }
};

// y of one vector of channels.
template <class T, int kCount>
__device__ __forceinline__ Vec<T, kCount> normalized(const Vec<T, kCount>& x, const float (&mean)[kCount],
                                                     const float (&scale)[kCount],
                                                     const float (&shift)[kCount], bool with_silu) {
  Vec<T, kCount> y;
#pragma unroll
  for (int j = 0; j < kCount; j++) {
    const float v = (to_float(x.at[j]) - mean[j]) * scale[j] + shift[j];
    y.at[j] = from_float<T>(with_silu ? silu(v) : v);
  }
  return y;
}

// ---- A group in one block: blockIdx.x is the group.

constexpr int kMostThreads = 1024;
constexpr int kSmall = 24 << 10;  // elements; larger groups leave too many multiprocessors idle

// Vectors that a thread holds: 48 bytes of them, at most 12.
template <class T, int kCount>
constexpr int kHeld = kCount * sizeof(T) < 4 ? 12 : 48 / (kCount * sizeof(T));

// Of all threads; `own` is the sum's alone.
__device__ __forceinline__ float block_sum(float v, float (&own)[kLanes]) {
  v = warp_sum(v);
  if (lane() == 0) own[warp()] = v;
  sync_block();
  return warp_sum(lane() < static_cast<int>(blockDim.x) / kLanes ? own[lane()] : 0);
}

struct SmallMemory {
  float sums[kLanes], squares[kLanes];
};

// Threads are `rows` positions of the group's size / kCount vectors; those left over only meet the others.
template <class T, int kCount>
__global__ void __launch_bounds__(kMostThreads)
    group_norm_small(const Source<T> source, const float* __restrict__ weight, const float* __restrict__ bias,
                     T* y, int rows, float eps, bool with_silu) {
  constexpr int kVectors = kHeld<T, kCount>;
  auto& memory = shared_memory<SmallMemory>();
  const int size = source.size(), width = size / kCount, tid = static_cast<int>(threadIdx.x);
  const int row = tid / width, c0 = static_cast<int>(blockIdx.x) * size,
            c = c0 + (tid - row * width) * kCount;
  const int positions = row < rows ? static_cast<int>(source.positions) : 0;
  const Column<T> column(source, c);
  Vec<T, kCount> held[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; i++)
    if (row + i * rows < positions) held[i] = load<Vec<T, kCount>>(column.at(row + i * rows));
  float scale[kCount], shift[kCount], mean[kCount];
#pragma unroll
  for (int j = 0; j < kCount; j++) scale[j] = weight[c + j], shift[j] = bias[c + j];

  // About a value of the group, so that a large mean takes nothing from the sums.
  const float about = to_float(*Column<T>(source, c0).from),
              all = static_cast<float>(source.positions * size);
  float sum = 0, square = 0;
#pragma unroll
  for (int i = 0; i < kVectors; i++)
    if (row + i * rows < positions)
#pragma unroll
      for (int j = 0; j < kCount; j++) sum += to_float(held[i].at[j]) - about;
  const float away = block_sum(sum, memory.sums) / all;
#pragma unroll
  for (int i = 0; i < kVectors; i++)
    if (row + i * rows < positions)
#pragma unroll
      for (int j = 0; j < kCount; j++) {
        const float d = to_float(held[i].at[j]) - about - away;
        square += d * d;
      }
  const float inverse = rsqrtf(block_sum(square, memory.squares) / all + eps);
#pragma unroll
  for (int j = 0; j < kCount; j++) mean[j] = about + away, scale[j] *= inverse;
  y += blockIdx.y * source.positions * source.channels() + c;
#pragma unroll
  for (int i = 0; i < kVectors; i++)
    if (row + i * rows < positions)
      store(y + static_cast<int64_t>(row + i * rows) * source.channels(),
            normalized(held[i], mean, scale, shift, with_silu));
}

// ---- Two launches: blockIdx.x is a chunk of positions.

constexpr int kThreads = 512;
constexpr int kFlight = 6;  // vectors of a thread that are on their way at once
constexpr int kJoin = 10;   // chunks' moments likewise: 32 groups of 160 chunks

struct Chunk {
  int64_t first;
  int count;
  __device__ Chunk(int64_t positions, int chunk) : first(static_cast<int64_t>(blockIdx.x) * chunk) {
    const int64_t left = positions - first;
    count = left < chunk ? static_cast<int>(left) : chunk;
  }
};

// Mean and sum of squared distances from it, of one chunk and group.
struct alignas(8) Moments {
  float mean, spread;
};

// How a block's threads lie over a chunk: `width` columns of kCount channels, `rows` positions at a time.
template <int kCount>
struct Layout {
  int columns, width, rows, column, row;
  __host__ __device__ Layout(int channels, int thread)
      : columns(channels / kCount),
        width(columns < kThreads ? columns : kThreads),
        rows(kThreads / width),
        column(thread % width),
        row(thread / width) {}
};

// partial [N][chunks][groups]
template <class T, int kCount>
__global__ void __launch_bounds__(kThreads, 1)
    group_norm_sums(const Source<T> source, int chunk, Moments* partial) {
  const Chunk mine(source.positions, chunk);
  const int channels = source.channels(), size = source.size(), tid = static_cast<int>(threadIdx.x);
  float* sums = &shared_memory<float>();  // [2][C]
  float* own = sums + 2 * channels;       // [2][kCount][threads]
  const Layout<kCount> at(channels, tid);
  for (int column0 = 0; column0 < at.columns; column0 += at.width) {
    const int c = (column0 + at.column) * kCount;
    const int count = at.row < at.rows && c < channels ? mine.count : 0;
    const Column<T> column(source, c < channels ? c : 0);
    float shift[kCount], sum[kCount] = {}, square[kCount] = {};
    int start = c / size * size;  // the group's first channel
#pragma unroll
    for (int j = 0; j < kCount; j++) {
      if (c + j == start + size) start += size;
      shift[j] = count ? to_float(*Column<T>(source, start).at(mine.first)) : 0;
    }
    for (int p = at.row; p < count; p += kFlight * at.rows) {
      Vec<T, kCount> from[kFlight];
#pragma unroll
      for (int i = 0; i < kFlight; i++)
        if (p + i * at.rows < count) from[i] = load<Vec<T, kCount>>(column.at(mine.first + p + i * at.rows));
#pragma unroll
      for (int i = 0; i < kFlight; i++)
        if (p + i * at.rows < count)
#pragma unroll
          for (int j = 0; j < kCount; j++) {
            const float d = to_float(from[i].at[j]) - shift[j];
            sum[j] += d, square[j] += d * d;
          }
    }
#pragma unroll
    for (int j = 0; j < kCount; j++) {
      own[j * kThreads + tid] = sum[j];
      own[(kCount + j) * kThreads + tid] = square[j];
    }
    sync_block();
    for (int i = tid; i < 2 * kCount * at.width; i += kThreads) {
      const int j = i / at.width, k = i - j * at.width, to = (column0 + k) * kCount + j % kCount;
      float total = 0;
#pragma unroll 8
      for (int r = 0; r < at.rows; r++) total += own[j * kThreads + r * at.width + k];
      if (to < channels) sums[j / kCount * channels + to] = total;
    }
    sync_block();
  }
  const float n = static_cast<float>(mine.count) * static_cast<float>(size);
  for (int g = warp(); g < source.groups; g += kThreads / kLanes) {
    float sum = 0, square = 0;
    for (int c = g * size + lane(); c < (g + 1) * size; c += kLanes)
      sum += sums[c], square += sums[channels + c];
    sum = warp_sum(sum), square = warp_sum(square);
    if (lane() == 0)
      partial[(static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * source.groups + g] = {
          to_float(*Column<T>(source, g * size).at(mine.first)) + sum / n, fmaxf(square - sum * sum / n, 0)};
  }
}

// Every group's mean and 1/√(σ² + eps) of image blockIdx.y out of its chunks' moments. own [2][threads]
template <class T>
__device__ __forceinline__ void join(const Source<T>& source, int chunk, const Moments* partial, float eps,
                                     float* own, float* means, float* inverses) {
  const int groups = source.groups, chunks = static_cast<int>(gridDim.x), tid = static_cast<int>(threadIdx.x);
  const int width = groups < kThreads ? groups : kThreads, parts = kThreads / width;
  const int part = tid / width, column = tid - part * width;
  const float all = static_cast<float>(source.positions), size = static_cast<float>(source.size());
  const auto last = static_cast<float>(source.positions - static_cast<int64_t>(chunks - 1) * chunk);
  const auto positions_of = [&](int i) { return i + 1 < chunks ? static_cast<float>(chunk) : last; };
  for (int g0 = 0; g0 < groups; g0 += width) {
    const int g = g0 + column;
    const bool inside = part < parts && g < groups;
    const Moments* from = partial + static_cast<int64_t>(blockIdx.y) * chunks * groups + (inside ? g : 0);
    // f(chunk, its moments), of every parts-th chunk; the second time they come from the cache.
    const auto each = [&](auto f) {
      if (!inside) return;
      for (int i = part; i < chunks; i += kJoin * parts) {
        Moments m[kJoin];
#pragma unroll
        for (int k = 0; k < kJoin; k++)
          if (i + k * parts < chunks)
            m[k] = load<Moments>(from + static_cast<int64_t>(i + k * parts) * groups);
#pragma unroll
        for (int k = 0; k < kJoin; k++)
          if (i + k * parts < chunks) f(i + k * parts, m[k]);
      }
    };
    const auto total_of = [&](float v, float* sums) {
      sums[tid] = v;
      sync_block();
      float total = 0;
#pragma unroll 8
      for (int i = 0; i < parts; i++) total += sums[i * width + column];
      return total;
    };
    // The mean's distance from the first chunk's: nothing cancels.
    const float reference = from[0].mean;
    float away = 0, spread = 0;
    each([&](int i, const Moments& m) { away += (m.mean - reference) * positions_of(i); });
    away = total_of(away, own) / all;
    each([&](int i, const Moments& m) {
      const float d = m.mean - reference - away;
      spread += m.spread + d * d * positions_of(i) * size;
    });
    spread = total_of(spread, own + kThreads) / (all * size);
    if (inside && part == 0) means[g] = reference + away, inverses[g] = rsqrtf(spread + eps);
    sync_block();
  }
}

// blockIdx.z: a tile of columns, where they are more than threads.
template <class T, int kCount>
__global__ void __launch_bounds__(kThreads, 1)
    group_norm_apply(const Source<T> source, int chunk, const Moments* __restrict__ partial,
                     const float* __restrict__ weight, const float* __restrict__ bias, T* y, float eps,
                     bool with_silu) {
  const Chunk mine(source.positions, chunk);
  const int channels = source.channels(), size = source.size();
  const Layout<kCount> at(channels, static_cast<int>(threadIdx.x));
  const int c = (static_cast<int>(blockIdx.z) * at.width + at.column) * kCount;
  const bool inside = at.row < at.rows && c < channels;
  const Column<T> column(source, inside ? c : 0);
  // From the chunk's end on: what the first launch read last is still in the cache.
  const int64_t last = mine.first + mine.count - 1;
  const int count = inside ? mine.count : 0;
  Vec<T, kCount> from[kFlight];
  const auto fetch = [&](int p) {
#pragma unroll
    for (int i = 0; i < kFlight; i++)
      if (p + i * at.rows < count) from[i] = load<Vec<T, kCount>>(column.at(last - p - i * at.rows));
  };
  fetch(at.row);  // on their way while the moments are put together

  float* own = &shared_memory<float>();  // [2][threads]
  float* means = own + 2 * kThreads;     // [groups]
  float* inverses = means + source.groups;
  join(source, chunk, partial, eps, own, means, inverses);
  if (!inside) return;
  float mean[kCount], scale[kCount], shift[kCount];
  int g = c / size, end = (g + 1) * size;
#pragma unroll
  for (int j = 0; j < kCount; j++) {
    if (c + j == end) g++, end += size;
    mean[j] = means[g], scale[j] = inverses[g] * weight[c + j], shift[j] = bias[c + j];
  }
  y += blockIdx.y * source.positions * channels + c;
  for (int p = at.row; p < count; p += kFlight * at.rows) {
    if (p != at.row) fetch(p);
#pragma unroll
    for (int i = 0; i < kFlight; i++)
      if (p + i * at.rows < count)
        store(y + (last - p - i * at.rows) * channels, normalized(from[i], mean, scale, shift, with_silu));
  }
}

// f.operator()<kCount>() with the widest vectors that three numbers of channels are multiples of.
template <class T, int kCount = kWide<T>, class F>
auto with_width(int64_t a, int64_t b, int64_t c, F f) {
  if constexpr (kCount == 1) {
    return f.template operator()<1>();
  } else {
    if (a % kCount == 0 && b % kCount == 0 && c % kCount == 0) return f.template operator()<kCount>();
    return with_width<T, kCount / 2>(a, b, c, f);
  }
}

using Weight = std::shared_ptr<const float>;

// None if a group is too large for one block.
template <class T, int kCount>
std::optional<Step> small_step(const GroupNormOp& p, const Source<T>& source, T* y, Weight weight,
                               Weight bias) {
  const int64_t size = p.channels / p.groups, width = size / kCount;
  if (p.positions * size > kSmall || width > kMostThreads) return std::nullopt;
  const int64_t passes = ceil_div(p.positions, kMostThreads / width);
  if (passes > kHeld<T, kCount>) return std::nullopt;
  const int64_t rows = ceil_div(p.positions, passes);
  const auto threads = static_cast<unsigned>(ceil_div(rows * width, kLanes) * kLanes);
  const Dim3 grid{static_cast<unsigned>(p.groups), static_cast<unsigned>(p.images), 1};
  return Step{[=, eps = p.eps, silu = p.silu](Stream stream, char*) {
    launch(stream, group_norm_small<T, kCount>, grid, threads, sizeof(SmallMemory), source, weight.get(),
           bias.get(), y, rows, eps, silu);
  }};
}

template <class T, int kCount>
Step large_step(const GroupNormOp& p, const Source<T>& source, T* y, const Chip& chip, Weight weight,
                Weight bias) {
  // A block for each multiprocessor, as long as there is something to do for them.
  const int64_t wanted = std::max<int64_t>(chip.multiprocessors / p.images, 1);
  const int64_t most = ceil_div(p.positions * p.channels, 2 * kThreads * kCount);
  const int64_t chunk = ceil_div(p.positions, std::min(wanted, most));
  const int64_t chunks = ceil_div(p.positions, chunk);
  const Layout<kCount> layout(static_cast<int>(p.channels), 0);
  const auto tiles = static_cast<unsigned>(ceil_div(layout.columns, layout.width));
  const Dim3 grid{static_cast<unsigned>(chunks), static_cast<unsigned>(p.images), 1};
  const Dim3 grid_tiles{grid.x, grid.y, tiles};
  const size_t shared_sums = (2 * p.channels + 2 * kCount * kThreads) * sizeof(float);
  const size_t shared_apply = (2 * p.groups + 2 * kThreads) * sizeof(float);
  const auto run = [=, eps = p.eps, silu = p.silu](Stream stream, char* scratch) {
    auto* partial = reinterpret_cast<Moments*>(scratch);
    launch(stream, group_norm_sums<T, kCount>, grid, kThreads, shared_sums, source, chunk, partial);
    launch(stream, group_norm_apply<T, kCount>, grid_tiles, kThreads, shared_apply, source, chunk, partial,
           weight.get(), bias.get(), y, eps, silu);
  };
  return {run, static_cast<size_t>(p.images * chunks * p.groups) * sizeof(Moments)};
}

Step bind(const OpDesc& op, BindContext& context) {
  const GroupNormOp p(op);
  const auto weight = raw_weight<float>(context, op.weight("weight"));
  const auto bias = raw_weight<float>(context, op.weight("bias"));
  return with_storage(context.storage, [&]<class T>() -> Step {
    const Source<T> source{context.at<T>(p.x),     context.at<T>(p.x2),    p.positions,
                           static_cast<int>(p.c1), static_cast<int>(p.c2), static_cast<int>(p.groups)};
    T* y = context.at<T>(p.out);
    auto small = with_width<T>(p.c1, p.c2, p.channels / p.groups, [&]<int kCount>() {
      return small_step<T, kCount>(p, source, y, weight, bias);
    });
    if (small) return *small;
    return p.c1 % kWide<T> == 0 && p.c2 % kWide<T> == 0
               ? large_step<T, kWide<T>>(p, source, y, context.chip, weight, bias)
               : large_step<T, 1>(p, source, y, context.chip, weight, bias);
  });
}

}  // namespace

const Kernel kGroupNorm = {bind};

}  // namespace latent_edge::gpu
