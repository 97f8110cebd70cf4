// The attention of attention.cu on Hopper's warpgroups (wgmma, sm_90a), 16-bit types, where there are many keys; after
// FlashAttention-3 (arXiv:2407.08608): warps that copy apart from those that compute.
//
// A warpgroup has 64 queries: scores of 64 keys, then their probabilities, which go from its registers into the product
// with the values while the next keys' scores are computed. One warpgroup more copies tiles of keys and values to a ring,
// as far ahead as the ring is long, and says so by signals, so that the others may drift apart: while one computes
// exponents another has the tensor cores. Keys and values lie in slabs of 32 channels as the tensor cores' 64-byte
// swizzle has them, as in gemm_hopper.cu; heads of 40 channels are padded to 48, for the scores alone.
//
// Microseconds of an H100 (cuda/tune/attention.cu; float16, bfloat16 within 3 %), two images, heads × head size:
//                              4096 tokens   4096    1024    1024   256
//                                   8 × 40  10 × 64  20 × 64  8 × 80  8 × 160
//   attention.cu                       193      284     46.4    26.8    9.0
//   this, 4 warpgroups                 126      203     39.9
//         2                            182      245     41.7    17.9    9.8
//         1                            229      267     42.1    27.0    7.4
// Exponents (16 a cycle and multiprocessor) are 72 of the 126 and 90 of the 203, products 60 and 109 at 790 TFLOP/s.
// Slower: a quarter of the exponents by a polynomial (145 and 224); a tile's exponents during the product of the tile
// before, which needs registers of which three warpgroups have enough (225 and 309; 20.3 at 80, but 7.1 at 160); 96 keys
// a tile (216 and 300) or 128 (140 with three warpgroups at 40); heads padded to whole slabs (140 at 40, 19.2 at 80).

#include "attention.h"

namespace latent_edge::gpu {
namespace {

constexpr int kSlab = 32, kSlabRow = 64;  // channels, bytes
constexpr int kRows = 64, kKeys = 64;     // queries of a warpgroup, keys of a tile
// Highest sum of a lane's probabilities of a tile: what exponents are counted from has then fallen too far behind.
constexpr float kTop = 4096;

__device__ __forceinline__ int swizzled(int row, int chunk) {  // in bytes
  return row * kSlabRow + ((chunk ^ (row >> 1)) & 3) * 16;
}

template <int kSize, int kGroups, int kStages>
struct Ring {
  static constexpr int kSlabs = (kSize + kSlab - 1) / kSlab;
  struct Stage {
    char keys[kSlabs][kKeys * kSlabRow], values[kSlabs][kKeys * kSlabRow];
  } stages[kStages];
  char queries[kGroups][kSlabs][kRows * kSlabRow];
  Signal full[kStages], empty[kStages];
};

// Rows of kSize channels to slabs, by a warp; zeros from row `count` and from channel `size` on.
template <class T, int kSize, int kCount>
__device__ __forceinline__ void copy_rows(SharedAddress to, int slab_bytes, const T* from, int64_t ld,
                                          int count, int size) {
  constexpr int kFull = kSize / kSlab, kRest = kSize % kSlab / 8;  // slabs, chunks of the last one
  static_assert(kRest == 0 || kRest == 2);
  const int row = lane() / 4, d = lane() % 4 * 8;
  const SharedAddress place = to + swizzled(row, lane() % 4);
  const T* source = from + row * ld + d;
#pragma unroll
  for (int i = 0; i < kCount / 8; i++, source = kept(source + 8 * ld))
#pragma unroll
    for (int slab = 0; slab < kFull; slab++)
      cp_async_16<false>(place + slab * slab_bytes + i * 8 * kSlabRow, source + slab * kSlab,
                         row + i * 8 < count && slab * kSlab + d < size);
  if constexpr (kRest > 0) {
    const int last_row = lane() / 2, last = kFull * kSlab + lane() % 2 * 8;
    const SharedAddress last_place = to + kFull * slab_bytes + swizzled(last_row, lane() % 2);
    const T* last_source = from + last_row * ld + last;
#pragma unroll
    for (int i = 0; i < (kCount + 15) / 16; i++, last_source = kept(last_source + 16 * ld))
      if (kCount % 16 == 0 || last_row + i * 16 < kCount)
        cp_async_16<false>(last_place + i * 16 * kSlabRow, last_source,
                           last_row + i * 16 < count && last < size);
  }
}

// Registers that a thread of a block of kGroups + 1 warpgroups is launched with, those that copy keep, and the others
// take. With one group there are enough for all.
template <int kGroups>
constexpr int kLaunched = 65536 / ((kGroups + 1) * 128) / 8 * 8;
template <int kGroups>
constexpr int kCopying = kGroups < 4 ? 40 : 32;
template <int kGroups>
constexpr int kComputing = (kLaunched<kGroups> * (kGroups + 1) - kCopying<kGroups>) / kGroups / 8 * 8;

// kSize: of a head, padded.
template <class T, int kSize, int kGroups, int kStages>
__global__ void __launch_bounds__(kGroups * 128 + 128, 1) attention_warpgroups(const Heads<T> h) {
  if constexpr (kHasWarpgroups) {
    using Memory = Ring<kSize, kGroups, kStages>;
    constexpr int kSlabs = Memory::kSlabs, kDepth = (kSize + 15) / 16;
    constexpr int kKeySlab = kKeys * kSlabRow, kQuerySlab = kRows * kSlabRow;
    constexpr int kStageBytes = sizeof(typename Memory::Stage), kCopied = kKeys / 4;
    auto& memory = shared_memory<Memory>();
    const SharedAddress stages = shared_address(&memory);
    const int group = warp() / 4;
    const bool copies = group == kGroups;
    const int group_row = warp() % 4 * (copies ? kCopied : 16);  // the warp's first in its group's tile
    const int block0 = static_cast<int>(blockIdx.x) * kRows * kGroups;
    const int64_t image = blockIdx.z, head = static_cast<int64_t>(blockIdx.y) * h.size;
    const int tiles = (h.keys_until(block0 + kRows * kGroups) + kKeys - 1) / kKeys;
    const SharedAddress queries = stages + kStages * kStageBytes + group * kSlabs * kQuerySlab;

    const int64_t kv = (image * h.keys + group_row) * h.ld_kv + head;
    const auto fetch = [&](int tile, int stage) {
      if (tile < tiles) {
        const int64_t from = kv + tile * kKeys * h.ld_kv;
        const SharedAddress to = stages + stage * kStageBytes + group_row * kSlabRow;
        const int left = h.keys - tile * kKeys - group_row;
        copy_rows<T, kDepth * 16, kCopied>(to, kKeySlab, h.k + from, h.ld_kv, left, h.size);
        copy_rows<T, kDepth * 16, kCopied>(to + kSlabs * kKeySlab, kKeySlab, h.v + from, h.ld_kv, left,
                                           h.size);
      }
      cp_async_commit();  // an empty group past the end keeps the count of groups
    };
    const int query0 = block0 + group * kRows + group_row;  // the warp's first
    if (threadIdx.x == 0)
      for (int s = 0; s < kStages; s++) memory.full[s].begin(4), memory.empty[s].begin(4 * kGroups);
    if (copies) {
      for (int s = 0; s < kStages - 1; s++) fetch(s, s);
    } else {
      copy_rows<T, kDepth * 16, 16>(queries + group_row * kSlabRow, kQuerySlab,
                                    h.q + (image * h.queries + query0) * h.ld_q + head, h.ld_q,
                                    h.queries - query0, h.size);
      cp_async_commit();
      cp_async_wait<0>();
    }
    fence_products();
    sync_block();

    if (copies) {
      if constexpr (kGroups > 1) keep_registers<kCopying<kGroups>>();
      int stage = 0, before = kStages - 1;
      uint32_t parity = 1;  // of the ring's round that `before` is in
      for (int tile = 0; tile < tiles; tile++) {
        cp_async_wait<kStages - 2>();
        fence_products();
        sync_warp();
        if (lane() == 0) memory.full[stage].raise();
        if (tile + kStages - 1 < tiles && tile > 0) memory.empty[before].await(parity);
        fetch(tile + kStages - 1, before);
        before = stage;
        if (++stage == kStages) stage = 0;
        if (before == 0) parity ^= 1;
      }
      sync_block();
      return;
    }

    if constexpr (kGroups > 1) take_registers<kComputing<kGroups>>();
    const Operand left(queries), keys(stages);
    const Turned values(stages + kSlabs * kKeySlab, kKeySlab);
    float score[kKeys / 8][4] = {}, sum[kSize / 8][4] = {};
    uint32_t p[kKeys / 16][4] = {};
    float maximum[2] = {kNone, kNone}, total[2] = {};

    const auto begin_scores = [&](int stage) {
      warpgroup_arrive();
#pragma unroll
      for (int k = 0; k < kDepth; k++) {
        const Operand right =
            keys.rows(stage * kStageBytes + k / 2 * kKeySlab).channels(k % 2 * kSlabRow / 2);
        const Operand row = left.rows(k / 2 * kQuerySlab).channels(k % 2 * kSlabRow / 2);
        if (k == 0)
          warpgroup_mma<T, kKeys, false>(score, row, right);
        else
          warpgroup_mma<T, kKeys>(score, row, right);
      }
      warpgroup_commit();
    };
    const auto begin_sums = [&](int stage) {
      warpgroup_arrive();
#pragma unroll
      for (int k = 0; k < kKeys / 16; k++)
        warpgroup_mma<T, kSize>(sum, p[k], values.rows(stage * kStageBytes + k * 16 * kSlabRow));
      warpgroup_commit();
    };
    const int query = query0 + lane() / 4;
    int stage = 0, before = 0;
    uint32_t parity = 0;  // of the ring's round that `stage` is in
    take(sum);
    for (int tile = 0; tile < tiles; tile++) {
      memory.full[stage].await(parity);
      begin_scores(stage);
      begin_sums(before);  // of the tile before; the first time of zeros, so that a step is always the same
      warpgroup_wait<0>();
      take(sum);
      take(score);
      if (tile > 0 && lane() == 0) memory.empty[before].raise();
      const int key0 = tile * kKeys;
      if (key0 + kKeys > h.keys || (h.causal && key0 + kKeys > query0))
#pragma unroll
        for (int n = 0; n < kKeys / 8; n++)
#pragma unroll
          for (int i = 0; i < 4; i++)
            if (h.masked(query + i / 2 * 8, key0 + n * 8 + lane() % 4 * 2 + i % 2)) score[n][i] = -INFINITY;

      // Exponents are counted from a maximum that may be an older one: their sum tells when it will not do.
      for (;;) {
        float part[2] = {};
#pragma unroll
        for (int k = 0; k < kKeys / 16; k++)
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const int r = i % 2;
            const float* from = &score[k * 2 + i / 2][2 * r];
            const float low = exp2_fast(from[0] * h.scale - maximum[r]),
                        high = exp2_fast(from[1] * h.scale - maximum[r]);
            part[r] += low + high;
            p[k][i] = pack2<T>(low, high);
          }
        if (!any_lane(part[0] > kTop || part[1] > kTop)) {
          total[0] += part[0], total[1] += part[1];
          break;
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
          float highest = fmaxf(score[0][2 * r], score[0][2 * r + 1]);
#pragma unroll
          for (int n = 1; n < kKeys / 8; n++)
            highest = fmaxf(highest, fmaxf(score[n][2 * r], score[n][2 * r + 1]));
          const float old = maximum[r];
          maximum[r] = fmaxf(old, row_max(highest) * h.scale);
          const float correction = exp2_fast(old - maximum[r]);
          total[r] *= correction;
#pragma unroll
          for (int n = 0; n < kSize / 8; n++) sum[n][2 * r] *= correction, sum[n][2 * r + 1] *= correction;
        }
      }
      before = stage;
      if (++stage == kStages) stage = 0, parity ^= 1;
    }
    begin_sums(before);
    warpgroup_wait<0>();
    take(sum);
    sync_block();  // queries have been read: the result lies there now

    char* out = memory.queries[group][0] + group_row * kSlabRow;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float inverse = 1 / row_sum(total[r]);
      const int row = r * 8 + lane() / 4;
#pragma unroll
      for (int n = 0; n < kSize / 8; n++)
        store(out + n / 4 * kQuerySlab + swizzled(row, n % 4) + lane() % 4 * 4,
              pack2<T>(sum[n][2 * r] * inverse, sum[n][2 * r + 1] * inverse));
    }
    sync_warp();
    constexpr int kColumns = kSize / 8;
    T* y = h.y + (image * h.queries + query0) * h.ld_y + head;
#pragma unroll 1
    for (int i = lane(); i < 16 * kColumns; i += kLanes) {
      const int row = i / kColumns, n = i % kColumns;
      if (query0 + row < h.queries && n * 8 < h.size)
        store(y + row * h.ld_y + n * 8, load<Vec<T, 8>>(out + n / 4 * kQuerySlab + swizzled(row, n % 4)));
    }
  }
}

template <class T, int kSize, int kGroups, int kStages>
void launch_warpgroups(Stream stream, const Heads<T>& h, unsigned heads, unsigned images) {
  using Memory = Ring<kSize, kGroups, kStages>;
  static_assert(sizeof(Memory) <= 227 << 10);
  launch(stream, attention_warpgroups<T, kSize, kGroups, kStages>,
         {static_cast<unsigned>(ceil_div(h.queries, kRows * kGroups)), heads, images}, kGroups * 128 + 128,
         sizeof(Memory), h);
}

// Warpgroups of a block, as many as leave a block for nearly every multiprocessor, of those that are faster than
// attention.cu for such heads; 0 where none is, as with the 77 keys of a text (12 to 55 % slower up to 64 channels).
template <class T>
int groups_of(const Heads<T>& h, unsigned heads, unsigned images, const Chip& chip) {
  const auto fills = [&](int groups) {
    return 10 * ceil_div(h.queries, kRows * groups) * heads * images >= int64_t{9} * chip.multiprocessors;
  };
  if (h.size > 80) return h.keys >= 256 ? 1 : 0;
  if (h.size > 64) return h.keys >= 256 && fills(2) ? 2 : 0;
  if (h.keys < 512) return 0;
  if (fills(4)) return 4;
  if (fills(2)) return 2;
  return h.size > 40 ? 1 : 0;
}

}  // namespace

template <class T>
std::optional<Step> warpgroup_step(const Heads<T>& h, unsigned heads, unsigned images, const Chip& chip) {
  if (!chip.warpgroups || !h.aligned || h.size > 160) return std::nullopt;
  const int groups = groups_of(h, heads, images, chip);
  if (groups == 0) return std::nullopt;
  return Step{[=](Stream stream, char*) {
    if (h.size > 80) return launch_warpgroups<T, 160, 1, 3>(stream, h, heads, images);
    if (h.size > 64) return launch_warpgroups<T, 80, 2, 3>(stream, h, heads, images);
    if (h.size <= 40) {
      if (groups == 4) return launch_warpgroups<T, 40, 4, 4>(stream, h, heads, images);
      return launch_warpgroups<T, 40, 2, 3>(stream, h, heads, images);
    }
    if (groups == 4) return launch_warpgroups<T, 64, 4, 4>(stream, h, heads, images);
    if (groups == 2) return launch_warpgroups<T, 64, 2, 3>(stream, h, heads, images);
    launch_warpgroups<T, 64, 1, 3>(stream, h, heads, images);
  }};
}

template std::optional<Step> warpgroup_step(const Heads<f16>&, unsigned, unsigned, const Chip&);
template std::optional<Step> warpgroup_step(const Heads<bf16>&, unsigned, unsigned, const Chip&);

}  // namespace latent_edge::gpu
