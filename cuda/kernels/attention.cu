// attention: y = softmax(scale·q·kᵀ + mask)·v for each image and head, without the matrix of scores in memory:
// blocks of keys, an online softmax (arXiv:1805.02867, arXiv:2205.14135)
// self: q [B,T,3C] holds q, k, v side by side; cross: q [B,T,C], kv [B,S,2C]; y [B,T,C], C = heads·head_size; all in
// the storage's type. attrs: heads, head_size, causal (key j only for j ≤ i), scale (absent: 1/√head_size)
// Scores and sums in float32, probabilities rounded to the storage's type for the product with v. Head sizes are
// padded to a multiple of 16 with zeros: 40 to 48 for q·kᵀ, and to 40 for p·v. Bound by the tensor cores; by exp at
// small head sizes.
#include "../ops/attention.h"
#include "bind.h"
#include "kernels.h"

namespace latent_edge::gpu {
namespace {

constexpr float kLog2e = 1.4426950408889634f;

template <class T>
struct Heads {
  const T *q, *k, *v;  // of the first token, image and head
  T* y;
  int64_t ld_q, ld_kv, ld_y;  // elements from one token to the next
  int queries, keys, size;
  bool causal, aligned;  // aligned: every token of a head begins at a multiple of 16 bytes
  float scale;           // times log2(e)

  // Moves to image blockIdx.z and head blockIdx.y.
  __device__ void begin() {
    const int64_t head = static_cast<int64_t>(blockIdx.y) * size;
    q += blockIdx.z * queries * ld_q + head;
    k += blockIdx.z * keys * ld_kv + head;
    v += blockIdx.z * keys * ld_kv + head;
    y += blockIdx.z * queries * ld_y + head;
  }
  __device__ __forceinline__ uint32_t pair(const T* from, int d, bool inside) const {
    if (!inside || d >= size) return 0;
    if (aligned) return load<uint32_t>(from + d);
    return pack2<T>(to_float(from[d]), d + 1 < size ? to_float(from[d + 1]) : 0);
  }
  __device__ __forceinline__ void write(int query, int d, float low, float high) const {
    if (query >= queries || d >= size) return;
    T* to = y + query * ld_y + d;
    if (aligned)
      store(to, pack2<T>(low, high));
    else {
      to[0] = from_float<T>(low);
      if (d + 1 < size) to[1] = from_float<T>(high);
    }
  }
  // Channels d … d+8 of a token to shared memory, zeros from `size` on.
  __device__ __forceinline__ void fetch(T* to, const T* from, int d, bool inside) const {
    if (aligned) {
      const bool valid = inside && d < size;
      cp_async<16>(to, valid ? from + d : q, valid);
      return;
    }
    Vec<T, 8> vector;
    for (int j = 0; j < 8; j++) vector.at[j] = inside && d + j < size ? from[d + j] : from_float<T>(0);
    store(to, vector);
  }
  __device__ __forceinline__ bool masked(int query, int key) const {
    return key >= keys || (causal && key > query);
  }
};

// Over the four lanes that share a row of a fragment.
__device__ __forceinline__ float row_max(float v) {
  v = fmaxf(v, shuffle_xor(v, 1));
  return fmaxf(v, shuffle_xor(v, 2));
}
__device__ __forceinline__ float row_sum(float v) {
  v += shuffle_xor(v, 1);
  return v + shuffle_xor(v, 2);
}

constexpr int kKeys = 64;  // of a block

template <class T, int kSize>
struct KeyBlocks {
  static constexpr int kRow = kSize + 8;  // an odd number of 16-byte chunks: ldmatrix reads all banks
  T k[2][kKeys * kRow], v[2][kKeys * kRow];
};

// Sixteen queries a warp, q, scores and sums in registers; keys and values double-buffered.
template <class T, int kSize>
__global__ void __launch_bounds__(256) attention(Heads<T> h) {
  constexpr int kRow = KeyBlocks<T, kSize>::kRow, kDepth = kSize / 16;
  auto& memory = shared_memory<KeyBlocks<T, kSize>>();
  h.begin();
  const int threads = static_cast<int>(blockDim.x), rows = threads / kLanes * 16;
  const int block0 = static_cast<int>(blockIdx.x) * rows, query = block0 + warp() * 16 + lane() / 4;

  uint32_t q[kDepth][4];
#pragma unroll
  for (int k = 0; k < kDepth; k++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int row = query + i % 2 * 8;
      q[k][i] = h.pair(h.q + row * h.ld_q, k * 16 + i / 2 * 8 + lane() % 4 * 2, row < h.queries);
    }

  const int end =
      h.causal && block0 + rows < h.keys ? block0 + rows : h.keys;  // later keys are masked for all
  const int blocks = (end + kKeys - 1) / kKeys;
  const auto fetch = [&](const T* from, T* to, int block) {
    for (int i = static_cast<int>(threadIdx.x); i < kKeys * (kSize / 8); i += threads) {
      const int key = i / (kSize / 8), d = i % (kSize / 8) * 8, index = block * kKeys + key;
      h.fetch(to + key * kRow + d, from + index * h.ld_kv, d, index < h.keys);
    }
  };

  float sum[kSize / 8][4] = {};
  float maximum[2] = {-INFINITY, -INFINITY}, total[2] = {};
  fetch(h.k, memory.k[0], 0);
  fetch(h.v, memory.v[0], 0);
  cp_async_commit();
  for (int block = 0; block < blocks; block++) {
    if (block + 1 < blocks) {
      fetch(h.k, memory.k[(block + 1) % 2], block + 1);
      fetch(h.v, memory.v[(block + 1) % 2], block + 1);
    }
    cp_async_commit();
    cp_async_wait<1>();
    sync_block();
    const T* keys = memory.k[block % 2];
    const T* values = memory.v[block % 2];

    float score[kKeys / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kDepth; k++)
#pragma unroll
      for (int n = 0; n < kKeys / 8; n += 2) {
        uint32_t b[4];
        ldmatrix(b, keys + (n * 8 + lane() / 16 * 8 + lane() % 8) * kRow + k * 16 + lane() / 8 % 2 * 8);
        const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
        mma<T>(score[n], q[k], first);
        mma<T>(score[n + 1], q[k], second);
      }

    const int key0 = block * kKeys + lane() % 4 * 2;
    const bool whole = block * kKeys + kKeys <= h.keys && !(h.causal && block * kKeys + kKeys > block0);
    float highest[2] = {maximum[0], maximum[1]};
#pragma unroll
    for (int n = 0; n < kKeys / 8; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        score[n][i] *= h.scale;
        if (!whole && h.masked(query + i / 2 * 8, key0 + n * 8 + i % 2)) score[n][i] = -INFINITY;
        highest[i / 2] = fmaxf(highest[i / 2], score[n][i]);
      }
#pragma unroll
    for (int r = 0; r < 2; r++) {
      highest[r] = row_max(highest[r]);
      const float correction = exp2_fast(maximum[r] - highest[r]);
      maximum[r] = highest[r];
      total[r] *= correction;
#pragma unroll
      for (int n = 0; n < kSize / 8; n++) sum[n][2 * r] *= correction, sum[n][2 * r + 1] *= correction;
    }
    uint32_t p[kKeys / 16][4];
#pragma unroll
    for (int n = 0; n < kKeys / 8; n++)
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const float low = exp2_fast(score[n][2 * r] - maximum[r]),
                    high = exp2_fast(score[n][2 * r + 1] - maximum[r]);
        total[r] += low + high;
        p[n / 2][n % 2 * 2 + r] = pack2<T>(low, high);
      }

#pragma unroll
    for (int k = 0; k < kKeys / 16; k++)
#pragma unroll
      for (int n = 0; n < kSize / 8; n += 2) {
        uint32_t b[4];
        ldmatrix<4, true>(b, values + (k * 16 + lane() % 16) * kRow + n * 8 + lane() / 16 * 8);
        const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
        mma<T>(sum[n], p[k], first);
        if (kSize != 48 || n * 8 + 8 < h.size) mma<T>(sum[n + 1], p[k], second);
      }
    sync_block();  // before these keys are overwritten
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const float inverse = 1 / row_sum(total[r]);
#pragma unroll
    for (int n = 0; n < kSize / 8; n++)
      h.write(query + r * 8, n * 8 + lane() % 4 * 2, sum[n][2 * r] * inverse, sum[n][2 * r + 1] * inverse);
  }
}

// Head sizes up to 512 (the autoencoders' single head): 32 queries a block of eight warps. For the scores of 32 keys
// each warp takes 16 queries and 8 keys; for the product with the values, 32 queries and 64 channels.
constexpr int kWideSize = 512, kWideRows = 32, kWideKeys = 32, kWideThreads = 256;

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

template <class T>
__global__ void __launch_bounds__(kWideThreads) attention_wide(Heads<T> h) {
  auto& memory = shared_memory<WideMemory<T>>();
  h.begin();
  const int query0 = static_cast<int>(blockIdx.x) * kWideRows;
  const int part_m = warp() / 4, part_n = warp() % 4;  // of the scores
  const auto fetch = [&](T* to, const T* from, int64_t ld, int first, int count) {
    for (int i = static_cast<int>(threadIdx.x); i < 32 * (kWideSize / 8); i += kWideThreads) {
      const int row = i / (kWideSize / 8), chunk = i % (kWideSize / 8);
      h.fetch(to + wide_at(row, chunk), from + (first + row) * ld, chunk * 8, first + row < count);
    }
    cp_async_commit();
  };
  const int end = h.causal && query0 + kWideRows < h.keys ? query0 + kWideRows : h.keys;
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
#pragma unroll
    for (int k = 0; k < kWideKeys / 16; k++) {
      uint32_t p[2][4];
#pragma unroll
      for (int m = 0; m < 2; m++) ldmatrix(p[m], &memory.p[m * 16 + lane() % 16][k * 16 + lane() / 16 * 8]);
#pragma unroll
      for (int n = 0; n < 8; n += 2) {
        uint32_t b[4];
        ldmatrix<4, true>(b, memory.v + wide_at(k * 16 + lane() % 16, warp() * 8 + n + lane() / 16));
        const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
#pragma unroll
        for (int m = 0; m < 2; m++) {
          mma<T>(sum[m][n], p[m], first);
          mma<T>(sum[m][n + 1], p[m], second);
        }
      }
    }
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

// Float32 storage, any head size up to 512: one query a warp; lanes take keys for the scores and channels for the
// product with the values.
constexpr int kPlainWarps = 4;

struct PlainHeads {
  float q[kPlainWarps][kWideSize], p[kPlainWarps][kLanes];
};

__global__ void __launch_bounds__(kPlainWarps* kLanes) attention_plain(Heads<float> h) {
  auto& memory = shared_memory<PlainHeads>();
  h.begin();
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
  // Eight warps share the keys they read, unless four make blocks enough for a chip that would idle.
  const int64_t large = ceil_div(h.queries, 128) * heads * images;
  const unsigned warps = large >= chip.multiprocessors ? 8 : 4;
  launch(stream, attention<T, kSize>, {static_cast<unsigned>(ceil_div(h.queries, warps * 16)), heads, images},
         warps * kLanes, sizeof(KeyBlocks<T, kSize>), h);
}

template <class T>
void launch_heads(Stream stream, const Heads<T>& h, unsigned heads, unsigned images, const Chip& chip) {
  if constexpr (std::is_same_v<T, float>) {
    launch(stream, attention_plain, {static_cast<unsigned>(ceil_div(h.queries, kPlainWarps)), heads, images},
           kPlainWarps * kLanes, sizeof(PlainHeads), h);
  } else {
    if (h.size <= 16) return launch_attention<T, 16>(stream, h, heads, images, chip);
    if (h.size <= 32) return launch_attention<T, 32>(stream, h, heads, images, chip);
    if (h.size <= 48) return launch_attention<T, 48>(stream, h, heads, images, chip);
    if (h.size <= 64) return launch_attention<T, 64>(stream, h, heads, images, chip);
    if (h.size <= 80) return launch_attention<T, 80>(stream, h, heads, images, chip);
    if (h.size <= 160) return launch_attention<T, 160>(stream, h, heads, images, chip);
    launch(stream, attention_wide<T>, {static_cast<unsigned>(ceil_div(h.queries, kWideRows)), heads, images},
           kWideThreads, sizeof(WideMemory<T>), h);
  }
}

Step bind(const OpDesc& op, BindContext& context) {
  const AttentionOp p(op);
  expect(p.size <= kWideSize, "a head_size of at most " + std::to_string(kWideSize), {p.size});
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
    return {[=, heads = static_cast<unsigned>(p.heads), images = static_cast<unsigned>(p.images),
             chip = context.chip](Stream stream, char*) { launch_heads(stream, h, heads, images, chip); }};
  });
}

}  // namespace

const Kernel kAttention = {bind};

}  // namespace latent_edge::gpu
