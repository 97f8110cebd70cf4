// attention: y = softmax(scale·q·kᵀ + mask)·v for each image and head, without the matrix of scores in memory:
// blocks of keys, an online softmax (arXiv:1805.02867, arXiv:2205.14135)
// self: q [B,T,3C] holds q, k, v side by side; cross: q [B,T,C], kv [B,S,2C]; y [B,T,C], C = heads·head_size; all in
// the storage's type. attrs: heads, head_size, causal (key j only for j ≤ i), scale (absent: 1/√head_size)
// Scores and sums in float32, probabilities rounded to the storage's type for the product with v. Head sizes are
// padded with zeros to one of five. Bound by the tensor cores and by exp, where heads and queries fill the chip.
#include "../ops/attention.h"
#include "attention.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

constexpr float kLog2e = 1.4426950408889634f;
constexpr int kKeys = 64;  // of a stage
constexpr int kPart = 32;  // keys whose scores are in registers at once

template <class T, int kSize>
struct KeyStages {
  static constexpr int kStages = kSize > 80 ? 2 : 3;
  static constexpr int kRow =
      kSize / 8 % 2 ? kSize : kSize + 8;  // an odd number of 16-byte chunks: ldmatrix reads all banks
  T at[kStages][2][kKeys * kRow];         // keys, values
};

// Blocks an SM is to hold: registers are then at most 65536 by its threads.
template <int kSize, int kTiles>
constexpr int kResident = kTiles == 2   ? (kSize <= 64 ? 3 : 2)
                          : kSize <= 80 ? 2
                                        : 1;

// kTiles·16 queries a warp, q, scores and sums in registers. With kSplit 2 two warps have the same queries and take
// every other part of the keys; their sums are added at the end. Keys and values are kStages deep in flight.
template <class T, int kSize, int kTiles, int kSplit>
__global__ void __launch_bounds__(128 * kSplit, kResident<kSize, kTiles>) attention(Heads<T> h) {
  using Stages = KeyStages<T, kSize>;
  constexpr int kStages = Stages::kStages, kRow = Stages::kRow;
  constexpr int kQueries = kTiles * 16, kColumns = kSize / 8, kDepth = kSize / 16;
  constexpr bool kOdd = kColumns % 2;  // eight channels are left over
  auto& memory = shared_memory<Stages>();
  const int tid = static_cast<int>(threadIdx.x), threads = kTiles == 2 ? 128 : static_cast<int>(blockDim.x);
  const int groups = threads / (kLanes * kSplit), group = warp() % groups, split = warp() / groups;
  const int rows = groups * kQueries, block0 = static_cast<int>(blockIdx.x) * rows;
  const int query0 = block0 + group * kQueries, query = query0 + lane() / 4;
  const int64_t image = blockIdx.z, head = static_cast<int64_t>(blockIdx.y) * h.size;

  // Whole rows of 16-byte chunks are copied at a time, a chunk a thread; zeros from the head's size on.
  const int step = threads / kColumns, row0 = tid / kColumns, d0 = (tid - row0 * kColumns) * 8;
  const int first_row = row0 < step ? row0 : kKeys * 2;  // none
  const int64_t kv_head = image * h.keys * h.ld_kv + head;
  const auto fetch = [&](int from_key, int stage) {
    T* to = memory.at[stage][0] + d0;
#pragma unroll 1
    for (int row = first_row; row < kKeys; row += step) {
      const int key = from_key + row;
      const bool inside = key < h.keys && d0 < h.size;
      const int64_t from = key * h.ld_kv + d0;
      cp_async<16>(to + row * kRow, h.k + kv_head + from, inside);
      cp_async<16>(to + (kKeys + row) * kRow, h.v + kv_head + from, inside);
    }
  };
  T* queries = memory.at[kStages - 1][0];  // until that stage's first keys come
  for (int row = first_row; row < rows; row += step)
    cp_async<16>(queries + row * kRow + d0, h.q + (image * h.queries + block0 + row) * h.ld_q + head + d0,
                 block0 + row < h.queries && d0 < h.size);
  cp_async_commit();
  const int end = h.keys_until(block0 + rows);
  for (int stage = 0; stage < kStages - 1; stage++) {
    if (stage * kKeys < end) fetch(stage * kKeys, stage);
    cp_async_commit();
  }
  cp_async_wait<kStages - 1>();
  sync_block();
  const int part_of_lane = lane() % 16 * kRow + lane() / 16 * 8;  // of the 16×16 that ldmatrix reads
  uint32_t q[kTiles][kDepth][4], q_odd[kTiles][2];
#pragma unroll
  for (int m = 0; m < kTiles; m++) {
    const T* from = queries + (group * kQueries + m * 16) * kRow + part_of_lane;
#pragma unroll
    for (int k = 0; k < kDepth; k++) ldmatrix(q[m][k], from + k * 16);
    if constexpr (kOdd) ldmatrix(q_odd[m], from + kDepth * 16);
  }

  float sum[kTiles][kColumns][4] = {};
  float maximum[kTiles][2], total[kTiles][2] = {};
#pragma unroll
  for (int m = 0; m < kTiles; m++) maximum[m][0] = maximum[m][1] = kNone;

  int stage = 0;
  for (int block_key = 0; block_key < end; block_key += kKeys) {
    cp_async_wait<kStages - 2>();
    sync_block();  // these keys are here, those of the block before have been read
    const int next = block_key + (kStages - 1) * kKeys;
    if (next < end) fetch(next, stage == 0 ? kStages - 1 : stage - 1);
    cp_async_commit();
#pragma unroll 1
    for (int part = split * kPart; part < kKeys; part += kPart * kSplit) {
      const int key0 = block_key + part;
      if (key0 >= end) break;
      const T* keys = memory.at[stage][0] + part * kRow + part_of_lane;
      const T* values = memory.at[stage][1] + part * kRow + part_of_lane;
      float score[kTiles][kPart / 8][4] = {};
#pragma unroll
      for (int k = 0; k < kDepth; k++)
#pragma unroll
        for (int n = 0; n < kPart / 8; n += 2) {
          uint32_t b[4];
          ldmatrix(b, keys + n * 8 * kRow + k * 16);
          const uint32_t first[2] = {b[0], b[2]}, second[2] = {b[1], b[3]};
#pragma unroll
          for (int m = 0; m < kTiles; m++) {
            mma<T>(score[m][n], q[m][k], first);
            mma<T>(score[m][n + 1], q[m][k], second);
          }
        }
      if constexpr (kOdd) {
#pragma unroll
        for (int n = 0; n < kPart / 8; n += 2) {
          uint32_t b[2];
          ldmatrix(b, keys + n * 8 * kRow + kDepth * 16);
#pragma unroll
          for (int m = 0; m < kTiles; m++) {
            mma8<T>(score[m][n], q_odd[m], b[0]);
            mma8<T>(score[m][n + 1], q_odd[m], b[1]);
          }
        }
      }
      if (key0 + kPart > h.keys || (h.causal && key0 + kPart > query0))
#pragma unroll
        for (int m = 0; m < kTiles; m++)
#pragma unroll
          for (int n = 0; n < kPart / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
              if (h.masked(query + m * 16 + i / 2 * 8, key0 + n * 8 + lane() % 4 * 2 + i % 2))
                score[m][n][i] = -INFINITY;

      const auto highest = [&](int m, int r) {
        float v = fmaxf(score[m][0][2 * r], score[m][0][2 * r + 1]);
#pragma unroll
        for (int n = 1; n < kPart / 8; n++) v = fmaxf(v, fmaxf(score[m][n][2 * r], score[m][n][2 * r + 1]));
        return v * h.scale;
      };
      bool higher = false;
#pragma unroll
      for (int m = 0; m < kTiles; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) higher |= highest(m, r) > maximum[m][r] + kSlack;
      if (any_lane(higher))
#pragma unroll
        for (int m = 0; m < kTiles; m++)
#pragma unroll
          for (int r = 0; r < 2; r++) {
            const float before = maximum[m][r];
            maximum[m][r] = fmaxf(before, row_max(highest(m, r)));
            const float correction = exp2_fast(before - maximum[m][r]);
            total[m][r] *= correction;
#pragma unroll
            for (int n = 0; n < kColumns; n++)
              sum[m][n][2 * r] *= correction, sum[m][n][2 * r + 1] *= correction;
          }
#pragma unroll
      for (int k = 0; k < kPart / 16; k++) {
        uint32_t p[kTiles][4];
#pragma unroll
        for (int m = 0; m < kTiles; m++)
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const int r = i % 2;
            const float* from = &score[m][k * 2 + i / 2][2 * r];
            const float low = exp2_fast(from[0] * h.scale - maximum[m][r]),
                        high = exp2_fast(from[1] * h.scale - maximum[m][r]);
            total[m][r] += low + high;
            p[m][i] = pack2<T>(low, high);
          }
#pragma unroll
        for (int n = 0; n + 1 < kColumns; n += 2) {
          uint32_t b[4];
          ldmatrix<4, true>(b, values + k * 16 * kRow + n * 8);
          const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
#pragma unroll
          for (int m = 0; m < kTiles; m++) {
            mma<T>(sum[m][n], p[m], first);
            mma<T>(sum[m][n + 1], p[m], second);
          }
        }
        if constexpr (kOdd) {
          uint32_t b[2];
          ldmatrix<2, true>(b, values + k * 16 * kRow + (kColumns - 1) * 8);
#pragma unroll
          for (int m = 0; m < kTiles; m++) mma<T>(sum[m][kColumns - 1], p[m], b);
        }
      }
    }
    stage = stage == kStages - 1 ? 0 : stage + 1;
  }
#pragma unroll
  for (int m = 0; m < kTiles; m++)
#pragma unroll
    for (int r = 0; r < 2; r++) total[m][r] = row_sum(total[m][r]);
  sync_block();  // keys and values have been read

  T* out = memory.at[0][0] + group * kQueries * kRow;
  if constexpr (kSplit == 2) {
    constexpr int kKept = kTiles * (kColumns + 1) * 4;  // floats of a lane
    float* other = reinterpret_cast<float*>(memory.at[0][0] + rows * kRow) + group * kKept * kLanes + lane();
    if (split == 1)
#pragma unroll
      for (int m = 0; m < kTiles; m++) {
        float* to = other + m * (kColumns + 1) * 4 * kLanes;
#pragma unroll
        for (int r = 0; r < 2; r++) to[r * kLanes] = maximum[m][r], to[(2 + r) * kLanes] = total[m][r];
#pragma unroll
        for (int n = 0; n < kColumns; n++)
#pragma unroll
          for (int i = 0; i < 4; i++) to[(4 + n * 4 + i) * kLanes] = sum[m][n][i];
      }
    sync_block();
    if (split == 1) return;
#pragma unroll
    for (int m = 0; m < kTiles; m++) {
      const float* from = other + m * (kColumns + 1) * 4 * kLanes;
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const float highest = fmaxf(maximum[m][r], from[r * kLanes]);
        const float mine = exp2_fast(maximum[m][r] - highest), others = exp2_fast(from[r * kLanes] - highest);
        total[m][r] = total[m][r] * mine + from[(2 + r) * kLanes] * others;
#pragma unroll
        for (int n = 0; n < kColumns; n++)
#pragma unroll
          for (int i = 2 * r; i < 2 * r + 2; i++)
            sum[m][n][i] = sum[m][n][i] * mine + from[(4 + n * 4 + i) * kLanes] * others;
      }
    }
  }
#pragma unroll
  for (int m = 0; m < kTiles; m++)
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float inverse = 1 / total[m][r];
      T* to = out + (m * 16 + r * 8 + lane() / 4) * kRow + lane() % 4 * 2;
#pragma unroll
      for (int n = 0; n < kColumns; n++)
        store(to + n * 8, pack2<T>(sum[m][n][2 * r] * inverse, sum[m][n][2 * r + 1] * inverse));
    }
  sync_warp();
  constexpr int kAtOnce = kLanes / kColumns;
  const int first = lane() / kColumns, d = lane() % kColumns * 8;
  T* y = h.y + (image * h.queries + query0) * h.ld_y + head + d;
  if (first < kAtOnce && d < h.size)
    for (int row = first; row < kQueries && query0 + row < h.queries; row += kAtOnce)
      store(y + row * h.ld_y, load<Vec<T, 8>>(out + row * kRow + d));
}

// Float32 storage, any head size up to 512: one query a warp; lanes take keys for the scores and channels for the
// product with the values.
constexpr int kPlainWarps = 4;

struct PlainHeads {
  float q[kPlainWarps][kWideSize], p[kPlainWarps][kLanes];
};

__global__ void __launch_bounds__(kPlainWarps* kLanes) attention_plain(Heads<float> h) {
  auto& memory = shared_memory<PlainHeads>();
  h.begin(blockIdx.z, blockIdx.y);
  const int query = static_cast<int>(blockIdx.x) * kPlainWarps + warp();
  if (query >= h.queries) return;
  float* q = memory.q[warp()];
  float* p = memory.p[warp()];
  for (int d = lane(); d < h.size; d += kLanes) q[d] = h.q[query * h.ld_q + d] * h.scale;
  sync_warp();
  float sum[kWideSize / kLanes] = {};
  float maximum = -INFINITY, total = 0;
  const int end = h.causal && query + 1 < h.keys ? query + 1 : h.keys;
  for (int key0 = 0; key0 < end; key0 += kLanes) {
    const int key = key0 + lane();
    float score = -INFINITY;
    if (key < end) {
      score = 0;
      const float* k = h.k + key * h.ld_kv;
      for (int d = 0; d < h.size; d++) score += q[d] * k[d];
    }
    const float highest = fmaxf(maximum, warp_max(score)), correction = exp2f(maximum - highest);
    maximum = highest;
    const float probability = exp2f(score - highest);
    total = total * correction + probability;
    p[lane()] = probability;
    sync_warp();
    const int count = end - key0 < kLanes ? end - key0 : kLanes;
#pragma unroll
    for (int i = 0; i < kWideSize / kLanes; i++) {
      const int d = i * kLanes + lane();
      if (d >= h.size) continue;
      float v = sum[i] * correction;
      for (int j = 0; j < count; j++) v += p[j] * h.v[(key0 + j) * h.ld_kv + d];
      sum[i] = v;
    }
    sync_warp();
  }
  const float inverse = 1 / warp_sum(total);
#pragma unroll
  for (int i = 0; i < kWideSize / kLanes; i++)
    if (i * kLanes + lane() < h.size) h.y[query * h.ld_y + i * kLanes + lane()] = sum[i] * inverse;
}

template <class T, int kSize>
void launch_attention(Stream stream, const Heads<T>& h, unsigned heads, unsigned images, const Chip& chip) {
  using Stages = KeyStages<T, kSize>;
  const auto blocks = [&](unsigned rows) { return static_cast<unsigned>(ceil_div(h.queries, rows)); };
  const auto fills = [&](unsigned rows, int times) {
    return 2 * int64_t{blocks(rows)} * heads * images >= int64_t{times} * chip.multiprocessors;
  };
  // 32 queries a warp read each key half as often as 16, but need blocks enough for every multiprocessor.
  if constexpr (kSize <= 80)
    if (fills(128, 3))
      return launch(stream, attention<T, kSize, 2, 1>, {blocks(128), heads, images}, 128, sizeof(Stages), h);
  const unsigned rows = fills(64, 2) ? 64 : 32;
  launch(stream, attention<T, kSize, 1, 2>, {blocks(rows), heads, images}, rows * 4, sizeof(Stages), h);
}

template <class T>
Step step_of(const Heads<T>& h, unsigned heads, unsigned images, const Chip& chip) {
  if constexpr (std::is_same_v<T, float>) {
    return {[=](Stream stream, char*) {
      launch(stream, attention_plain,
             {static_cast<unsigned>(ceil_div(h.queries, kPlainWarps)), heads, images}, kPlainWarps * kLanes,
             sizeof(PlainHeads), h);
    }};
  } else {
    if (!h.aligned || h.size > 160) return wide_step(h, heads, images, chip);
    if (const auto step = warpgroup_step(h, heads, images, chip)) return *step;
    return {[=](Stream stream, char*) {
      if (h.size <= 32) return launch_attention<T, 32>(stream, h, heads, images, chip);
      if (h.size <= 40) return launch_attention<T, 40>(stream, h, heads, images, chip);
      if (h.size <= 64) return launch_attention<T, 64>(stream, h, heads, images, chip);
      if (h.size <= 80) return launch_attention<T, 80>(stream, h, heads, images, chip);
      launch_attention<T, 160>(stream, h, heads, images, chip);
    }};
  }
}

Step bind(const OpDesc& op, BindContext& context) {
  const AttentionOp p(op);
  expect(p.size <= kWideSize, "a head_size of at most " + std::to_string(kWideSize), {p.size});
  expect(p.scale > 0, "a scale above zero", {});
  return with_storage(context.storage, [&]<class T>() -> Step {
    Heads<T> h;
    h.q = context.at<T>(p.q);
    h.k = p.kv ? context.at<T>(p.kv) : h.q + p.channels;
    h.v = h.k + p.channels;
    h.y = context.at<T>(p.out);
    h.ld_q = p.ld_q, h.ld_kv = p.ld_kv, h.ld_y = p.channels;
    h.queries = static_cast<int>(p.queries), h.keys = static_cast<int>(p.keys),
    h.size = static_cast<int>(p.size);
    h.causal = p.causal, h.aligned = p.size % 8 == 0;
    h.scale = p.scale * kLog2e;
    return step_of(h, static_cast<unsigned>(p.heads), static_cast<unsigned>(p.images), context.chip);
  });
}

}  // namespace

const Kernel kAttention = {bind};

}  // namespace latent_edge::gpu
