// attention for head sizes up to 512 (the autoencoders' single head), and for those that are no multiple of 8.
#include <algorithm>

#include "attention.h"

namespace latent_edge::gpu {
namespace {

// Head sizes up to 512 (the autoencoders' single head): 32 queries a block of eight warps. For the scores of 32 keys
// each warp takes 16 queries and 8 keys; for the product with the values, 32 queries and 64 channels.
constexpr int kWideRows = 32, kWideKeys = 32, kWideThreads = 256;

template <class T>
struct WideMemory {
  T q[kWideRows * kWideSize], k[kWideKeys * kWideSize], v[kWideKeys * kWideSize];
  T p[kWideRows][kWideKeys + 8];
  float highest[4][kWideRows];
};

// Chunk c (8 channels) of a row of 512: all banks for eight rows at one chunk.
__device__ __forceinline__ int wide_at(int row, int chunk) {
  return row * kWideSize + (chunk ^ (row & 7)) * 8;
}

// sum += p·v: kTiles·16 rows of probabilities by this warp's 64 channels of the values.
template <class T, int kTiles, int kRow>
__device__ __forceinline__ void add_values(float (&sum)[kTiles][8][4],
                                           const T (&probabilities)[kTiles * 16][kRow], const T* values) {
  constexpr int kKeys = kRow - 8;
#pragma unroll
  for (int k = 0; k < kKeys / 16; k++) {
    uint32_t p[kTiles][4];
#pragma unroll
    for (int m = 0; m < kTiles; m++)
      ldmatrix(p[m], &probabilities[m * 16 + lane() % 16][k * 16 + lane() / 16 * 8]);
#pragma unroll
    for (int n = 0; n < 8; n += 2) {
      uint32_t b[4];
      ldmatrix<4, true>(b, values + wide_at(k * 16 + lane() % 16, warp() * 8 + n + lane() / 16));
      const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
#pragma unroll
      for (int m = 0; m < kTiles; m++) {
        mma<T>(sum[m][n], p[m], first);
        mma<T>(sum[m][n + 1], p[m], second);
      }
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kWideThreads) attention_wide(Heads<T> h) {
  auto& memory = shared_memory<WideMemory<T>>();
  h.begin(blockIdx.z, blockIdx.y);
  const int query0 = static_cast<int>(blockIdx.x) * kWideRows;
  const int part_m = warp() / 4, part_n = warp() % 4;  // of the scores
  const auto fetch = [&](T* to, const T* from, int64_t ld, int first, int count) {
    for (int i = static_cast<int>(threadIdx.x); i < 32 * (kWideSize / 8); i += kWideThreads) {
      const int row = i / (kWideSize / 8), chunk = i % (kWideSize / 8);
      h.fetch(to + wide_at(row, chunk), from + (first + row) * ld, chunk * 8, first + row < count);
    }
    cp_async_commit();
  };
  const int end = h.keys_until(query0 + kWideRows);
  const int blocks = (end + kWideKeys - 1) / kWideKeys;

  float sum[2][8][4] = {};
  // Of the rows lane/4 + 8·i, the same in every warp; `total` is that of this warp's keys.
  float maximum[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, total[2] = {};
  fetch(memory.q, h.q, h.ld_q, query0, h.queries);
  fetch(memory.k, h.k, h.ld_kv, 0, h.keys);
  for (int block = 0; block < blocks; block++) {
    fetch(memory.v, h.v, h.ld_kv, block * kWideKeys, h.keys);
    cp_async_wait<1>();
    sync_block();  // q and these keys are here
    float score[4] = {};
    for (int d = 0; d < kWideSize / 8; d += 4) {
      uint32_t first[4], second[4], b[4];
      const int row = part_m * 16 + lane() % 16;
      ldmatrix(first, memory.q + wide_at(row, d + lane() / 16));
      ldmatrix(second, memory.q + wide_at(row, d + 2 + lane() / 16));
      ldmatrix(b, memory.k + wide_at(part_n * 8 + lane() % 8, d + lane() / 8));
      const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
      mma<T>(score, first, low);
      mma<T>(score, second, high);
    }
    const int row = part_m * 16 + lane() / 4, column = part_n * 8 + lane() % 4 * 2;
    float highest[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      score[i] *= h.scale;
      if (h.masked(query0 + row + i / 2 * 8, block * kWideKeys + column + i % 2)) score[i] = -INFINITY;
      highest[i / 2] = fmaxf(highest[i / 2], score[i]);
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
      highest[r] = row_max(highest[r]);
      if (lane() % 4 == 0) memory.highest[part_n][row + r * 8] = highest[r];
    }
    sync_block();  // maxima are here, these keys have been read
    if (block + 1 < blocks)
      fetch(memory.k, h.k, h.ld_kv, (block + 1) * kWideKeys, h.keys);
    else
      cp_async_commit();
    float correction[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      float m = maximum[i];
      for (int w = 0; w < 4; w++) m = fmaxf(m, memory.highest[w][lane() / 4 + i * 8]);
      correction[i] = exp2_fast(maximum[i] - m);
      maximum[i] = m;
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float m = part_m == 0 ? maximum[r] : maximum[2 + r];
      const float low = exp2_fast(score[2 * r] - m), high = exp2_fast(score[2 * r + 1] - m);
      total[r] = total[r] * (part_m == 0 ? correction[r] : correction[2 + r]) + low + high;
      store(&memory.p[row + r * 8][column], pack2<T>(low, high));
    }
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
      for (int n = 0; n < 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) sum[m][n][i] *= correction[2 * m + i / 2];
    cp_async_wait<1>();
    sync_block();  // probabilities and values are here
    add_values(sum, memory.p, memory.v);
    sync_block();  // before values and probabilities are overwritten
  }
  cp_async_wait<0>();
  // The totals of four warps' keys, where the maxima were.
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const float all = row_sum(total[r]);
    if (lane() % 4 == 0) memory.highest[part_n][part_m * 16 + lane() / 4 + r * 8] = all;
  }
  sync_block();
#pragma unroll
  for (int i = 0; i < 4; i++) {
    float all = 0;
    for (int w = 0; w < 4; w++) all += memory.highest[w][lane() / 4 + i * 8];
    const float inverse = 1 / all;
#pragma unroll
    for (int n = 0; n < 8; n++) {
      const float* from = &sum[i / 2][n][i % 2 * 2];
      h.write(query0 + lane() / 4 + i * 8, warp() * 64 + n * 8 + lane() % 4 * 2, from[0] * inverse,
              from[1] * inverse);
    }
  }
}

// The same on a chip whose blocks may have 218 KB (Hopper's): 64 queries and 64 keys, so that what is read of keys and
// values serves twice the queries. For the scores each warp takes 32 queries, 32 keys and half the channels, and gives
// half of its sums to the warp of the other channels; for the product with the values, 64 queries and 64 channels.
// Where blocks are fewer than multiprocessors, `splits` of them share the keys of 64 queries; their sums go to scratch.
constexpr int kTall = 64;

template <class T>
struct TallMemory {
  T q[kTall * kWideSize], k[kTall * kWideSize], v[kTall * kWideSize];
  T p[kTall][kTall + 8];
  float part[8][16][kLanes];
  float highest[2][kTall];
};

// Partial sums of all queries of all heads and images, before they are divided by their totals.
struct Partial {
  float* sums;   // [splits][rows][size]
  float* stats;  // [splits][rows][2]: maximum, total
  int64_t rows;
  int splits;  // 1: there are none, the block has all keys
};

template <class T>
__global__ void __launch_bounds__(kWideThreads) attention_tall(Heads<T> h, Partial partial) {
  auto& memory = shared_memory<TallMemory<T>>();
  const int splits = partial.splits, image = static_cast<int>(blockIdx.z) / splits,
            split = static_cast<int>(blockIdx.z) - image * splits;
  h.begin(image, blockIdx.y);
  const int query0 = static_cast<int>(blockIdx.x) * kTall;
  const int half = warp() / 4, tile_m = warp() / 2 % 2, tile_n = warp() % 2;
  const auto fetch = [&](T* to, const T* from, int64_t ld, int first, int count) {
    const int chunk = static_cast<int>(threadIdx.x) % (kWideSize / 8);
    const bool inside = chunk * 8 < h.size;
#pragma unroll 4
    for (int row = static_cast<int>(threadIdx.x) / (kWideSize / 8); row < kTall;
         row += kWideThreads / (kWideSize / 8))
      cp_async<16>(to + wide_at(row, chunk), from + (first + row) * ld + chunk * 8,
                   inside && first + row < count);
    cp_async_commit();
  };
  const int all = (h.keys_until(query0 + kTall) + kTall - 1) / kTall;
  const int first_block = all * split / splits, end_block = all * (split + 1) / splits;

  float sum[4][8][4] = {};
  float maximum[8],
      own_maximum[2] = {kNone, kNone};  // of the rows lane/4 + 8·i, and of those whose p is ours
#pragma unroll
  for (int i = 0; i < 8; i++) maximum[i] = kNone;
  float total[2] = {};
  const int own_row = tile_m * 32 + half * 16 + lane() / 4;
  fetch(memory.q, h.q, h.ld_q, query0, h.queries);
  if (first_block < end_block) fetch(memory.k, h.k, h.ld_kv, first_block * kTall, h.keys);
  for (int block = first_block; block < end_block; block++) {
    cp_async_wait<0>();
    sync_block();  // q and these keys are here, the values before have been read
    fetch(memory.v, h.v, h.ld_kv, block * kTall, h.keys);
    float score[2][4][4] = {};
#pragma unroll 4
    for (int step = 0; step < kWideSize / 32; step++) {
      const int chunk = half * (kWideSize / 16) + step * 2;
      uint32_t a[2][4];
#pragma unroll
      for (int m = 0; m < 2; m++)
        ldmatrix(a[m], memory.q + wide_at(tile_m * 32 + m * 16 + lane() % 16, chunk + lane() / 16));
#pragma unroll
      for (int n = 0; n < 4; n += 2) {
        uint32_t b[4];
        ldmatrix(b, memory.k +
                        wide_at(tile_n * 32 + n * 8 + lane() / 16 * 8 + lane() % 8, chunk + lane() / 8 % 2));
        const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
#pragma unroll
        for (int m = 0; m < 2; m++) {
          mma<T>(score[m][n], a[m], first);
          mma<T>(score[m][n + 1], a[m], second);
        }
      }
    }
    float own[4][4];
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        own[n][i] = half ? score[1][n][i] : score[0][n][i];
        memory.part[warp()][n * 4 + i][lane()] = half ? score[0][n][i] : score[1][n][i];
      }
    sync_block();  // parts are here, these keys have been read
    if (block + 1 < end_block)
      fetch(memory.k, h.k, h.ld_kv, (block + 1) * kTall, h.keys);
    else
      cp_async_commit();
    const int key0 = block * kTall, key = key0 + tile_n * 32 + lane() % 4 * 2;
    const bool whole = key0 + kTall <= h.keys && !(h.causal && key0 + kTall > query0);
    float highest[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        own[n][i] += memory.part[warp() ^ 4][n * 4 + i][lane()];
        if (!whole && h.masked(query0 + own_row + i / 2 * 8, key + n * 8 + i % 2)) own[n][i] = -INFINITY;
        highest[i / 2] = fmaxf(highest[i / 2], own[n][i]);
      }
#pragma unroll
    for (int r = 0; r < 2; r++) {
      highest[r] = row_max(highest[r]);
      if (lane() % 4 == 0) memory.highest[tile_n][own_row + r * 8] = highest[r];
    }
    sync_block();  // maxima are here
    float seen[8];
    bool higher = false;  // the same for every warp
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int row = lane() / 4 + i * 8;
      seen[i] = fmaxf(memory.highest[0][row], memory.highest[1][row]) * h.scale;
      higher |= seen[i] > maximum[i] + kSlack;
    }
    if (any_lane(higher)) {
#pragma unroll
      for (int i = 0; i < 8; i++) {
        const float before = maximum[i];
        maximum[i] = fmaxf(before, seen[i]);
        const float correction = exp2_fast(before - maximum[i]);
#pragma unroll
        for (int n = 0; n < 8; n++)
          sum[i / 2][n][i % 2 * 2] *= correction, sum[i / 2][n][i % 2 * 2 + 1] *= correction;
      }
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const int row = own_row + r * 8;
        const float before = own_maximum[r];
        own_maximum[r] = fmaxf(before, fmaxf(memory.highest[0][row], memory.highest[1][row]) * h.scale);
        total[r] *= exp2_fast(before - own_maximum[r]);
      }
    }
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const float low = exp2_fast(own[n][2 * r] * h.scale - own_maximum[r]),
                    high = exp2_fast(own[n][2 * r + 1] * h.scale - own_maximum[r]);
        total[r] += low + high;
        store(&memory.p[own_row + r * 8][tile_n * 32 + n * 8 + lane() % 4 * 2], pack2<T>(low, high));
      }
    cp_async_wait<1>();
    sync_block();  // probabilities and values are here
    add_values(sum, memory.p, memory.v);
  }
  cp_async_wait<0>();
  // The totals of two warps' keys, where the maxima were.
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const float mine = row_sum(total[r]);
    if (lane() % 4 == 0) memory.highest[tile_n][own_row + r * 8] = mine;
  }
  sync_block();
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const int row = lane() / 4 + i * 8;
    const float both = memory.highest[0][row] + memory.highest[1][row];
    const int d0 = warp() * 64 + lane() % 4 * 2;
    if (splits == 1) {
      const float inverse = 1 / both;
#pragma unroll
      for (int n = 0; n < 8; n++) {
        const float* from = &sum[i / 2][n][i % 2 * 2];
        h.write(query0 + row, d0 + n * 8, from[0] * inverse, from[1] * inverse);
      }
      continue;
    }
    if (query0 + row >= h.queries) continue;
    const int64_t at = split * partial.rows +
                       (static_cast<int64_t>(image) * gridDim.y + blockIdx.y) * h.queries + query0 + row;
    if (d0 == 0) store(partial.stats + at * 2, Vec<float, 2>{{maximum[i], both}});
#pragma unroll
    for (int n = 0; n < 8; n++)
      if (d0 + n * 8 < h.size)
        store(partial.sums + at * h.size + d0 + n * 8,
              Vec<float, 2>{{sum[i / 2][n][i % 2 * 2], sum[i / 2][n][i % 2 * 2 + 1]}});
  }
}

// y out of the partial sums, four channels a thread.
template <class T>
__global__ void __launch_bounds__(256) combine(Heads<T> h, Partial partial, int heads) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t row = i / (h.size / 4), head = row / h.queries, query = row - head * h.queries;
  if (row >= partial.rows) return;
  const int d = static_cast<int>(i - row * (h.size / 4)) * 4;
  float maximum = kNone, total = 0, sum[4] = {};
  for (int s = 0; s < partial.splits; s++)
    maximum = fmaxf(maximum, partial.stats[(s * partial.rows + row) * 2]);
  for (int s = 0; s < partial.splits; s++) {
    const int64_t at = s * partial.rows + row;
    const float weight = exp2_fast(partial.stats[at * 2] - maximum);
    const auto part = load<Vec<float, 4>>(partial.sums + at * h.size + d);
    total += partial.stats[at * 2 + 1] * weight;
    for (int j = 0; j < 4; j++) sum[j] += part.at[j] * weight;
  }
  Vec<T, 4> y;
  for (int j = 0; j < 4; j++) y.at[j] = from_float<T>(sum[j] / total);
  store(h.y + (head / heads * h.queries + query) * h.ld_y + head % heads * h.size + d, y);
}

template <class T>
Step tall_step(const Heads<T>& h, unsigned heads, unsigned images, const Chip& chip) {
  const auto blocks = static_cast<unsigned>(ceil_div(h.queries, kTall));
  const int64_t idle = chip.multiprocessors / (int64_t{blocks} * heads * images);
  Partial partial;
  partial.rows = int64_t{h.queries} * heads * images;
  partial.splits =
      static_cast<int>(std::clamp<int64_t>(idle, 1, std::min<int64_t>(ceil_div(h.keys, kTall), 8)));
  const int64_t sums = partial.splits * partial.rows * h.size;
  Step step;
  step.launch = [=](Stream stream, char* scratch) mutable {
    partial.sums = reinterpret_cast<float*>(scratch), partial.stats = partial.sums + sums;
    const auto splits = static_cast<unsigned>(partial.splits);
    launch(stream, attention_tall<T>, {blocks, heads, images * splits}, kWideThreads, sizeof(TallMemory<T>),
           h, partial);
    if (splits > 1)
      launch(stream, combine<T>, {static_cast<unsigned>(ceil_div(partial.rows * (h.size / 4), 256)), 1, 1},
             256, 0, h, partial, heads);
  };
  if (partial.splits > 1)
    step.scratch_bytes = static_cast<size_t>(sums + partial.splits * partial.rows * 2) * sizeof(float);
  return step;
}

}  // namespace

template <class T>
Step wide_step(const Heads<T>& h, unsigned heads, unsigned images, const Chip& chip) {
  if (h.aligned && chip.shared_bytes >= sizeof(TallMemory<T>)) return tall_step(h, heads, images, chip);
  return {[=](Stream stream, char*) {
    launch(stream, attention_wide<T>, {static_cast<unsigned>(ceil_div(h.queries, kWideRows)), heads, images},
           kWideThreads, sizeof(WideMemory<T>), h);
  }};
}

template Step wide_step(const Heads<f16>&, unsigned, unsigned, const Chip&);
template Step wide_step(const Heads<bf16>&, unsigned, unsigned, const Chip&);

}  // namespace latent_edge::gpu
