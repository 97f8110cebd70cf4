// The products of gemm.h on Hopper's warpgroups (wgmma, sm_90a), 16-bit types, which are not for gemm_tma.cu: the same
// operands and sums as gemm.cu.
//
// Two warpgroups compute a tile of y, 64 or 128 rows each. A stage of the ring holds 64 channels of one tap, as two slabs
// whose rows of 64 bytes lie as the tensor cores' 64-byte swizzle has them. The threads copy stage i + kStages − 2 while
// the tensor cores are at stages i − 1 and i. Taps go round faster than channels: a window's pixels come from the
// multiprocessor's own cache after the first tap.
#include "gemm_tile.h"

namespace latent_edge::gpu {
namespace {

constexpr int kThreads = 256, kDepth = 2 * kSlab;  // channels of a stage

constexpr size_t kShared = 227 << 10;  // of a block

template <class T, int kM, int kN>
constexpr bool kHasRoom = sizeof(Sums<kM, kN>) + kM * kN * sizeof(T) <= kShared;

template <class T, int kM, int kN>
struct Stage {
  T left[2][kM * kSlab], right[2][kN * kSlab];
};

template <class T, int kM, int kN, int kStages>
union WarpgroupMemory {
  Stage<T, kM, kN> stages[kStages];
  struct {
    Sums<kM, kN> sums;
    T before[kHasRoom<T, kM, kN> ? kM * kN : 1];  // the residual, where there is room for it
  };
};

template <class T>
__host__ __device__ int stages_of(const Patches<T>& p) {
  return p.kh * p.kw * ((p.slabs_of_tap() + 1) / 2);
}

// A row of the left operand: the source's pixel under the window's first tap, and which taps lie inside (bit by bit);
// of what is upsampled, bits 30 and 31 are the parities of that tap's x and y.
struct Window {
  int pixel;
  uint32_t inside;

  template <class T>
  __device__ __forceinline__ void begin(const Patches<T>& p, int64_t row) {
    const bool within = row < p.rows;
    const int m = within ? static_cast<int>(row) : 0;
    pixel = m, inside = within ? 1 : 0;
    if (p.kh * p.kw == 1 && p.stride == 1 && p.shift == 0 && p.top == 0 && p.left == 0) return;
    const int line = m / p.out_width, n = line / p.out_height;
    const int x = (m - line * p.out_width) * p.stride - p.left,
              y = (line - n * p.out_height) * p.stride - p.top;
    pixel = (n * p.height + (y >> p.shift)) * p.width + (x >> p.shift);
    // Columns from max(−x, 0) on and before in_width − x, the same of rows.
    const int first = x < 0 ? -x : 0, end = p.in_width - x < p.kw ? p.in_width - x : p.kw;
    const uint32_t columns = within && first < end ? (1u << end) - (1u << first) : 0;
    inside = 0;
    for (int i = 0; i < p.kh; i++)
      if (y + i >= 0 && y + i < p.in_height) inside |= columns << (i * p.kw);
    if (p.shift) inside |= (x & 1u) << 30 | (y & 1u) << 31;
  }
};

// Where in the left operand a thread copies from, stage by stage: taps go round, then the next 64 channels.
template <class T>
struct Walk {
  const Patches<T>& p;
  int slab, tap, tap_x, tap_y;  // slab: of a tap
  int first, pixel_bytes;       // first: channel of the 16 bytes within a slab
  bool second, used;            // second: of the sources; used: they have these channels
  const char* source;           // of the pixel under this tap of a window that begins at pixel 0

  __device__ __forceinline__ Walk(const Patches<T>& p, int stage, int half, int chunk)
      : p(p), first(chunk * 8) {
    const int taps = p.kh * p.kw;
    slab = stage / taps * 2 + half;
    tap = stage % taps, tap_y = tap / p.kw, tap_x = tap - tap_y * p.kw;
    choose();
    source += static_cast<int64_t>(tap_y * p.width + tap_x) * pixel_bytes;
  }
  __device__ __forceinline__ void choose() {
    second = slab >= p.slabs1();
    const int channels = second ? p.c2 : p.c1, c = (second ? slab - p.slabs1() : slab) * kSlab + first;
    used = c < channels && slab < p.slabs_of_tap();
    pixel_bytes = channels * static_cast<int>(sizeof(T));
    source = reinterpret_cast<const char*>((second ? p.x2 : p.x) + c);
  }
  // True where pixels are of another size from here on.
  __device__ __forceinline__ bool next() {
    tap++, tap_x++, source += pixel_bytes;
    if (tap_x < p.kw) return false;
    tap_x = 0, tap_y++, source += static_cast<int64_t>(p.width - p.kw) * pixel_bytes;
    if (tap_y < p.kh) return false;
    tap = tap_y = 0, slab += 2;
    const bool before = second;
    choose();
    return second != before;
  }
};

// kBlocks: of a multiprocessor.
template <class T, int kM, int kN, int kStages, int kBlocks, bool kUpsampled>
__global__ void __launch_bounds__(kThreads, kBlocks)
    product_warpgroups(const Product<T> p, float* partial, int stages_per_split) {
  constexpr int kParts = kM / 128;                     // of 64 rows, of a warpgroup
  constexpr int kLoadsM = kM / 32, kLoadsN = kN / 32;  // eight threads copy a row's 128 bytes
  constexpr int kSlabRow = kSlab * sizeof(T), kStageBytes = sizeof(Stage<T, kM, kN>);
  constexpr int kRight = 2 * kM * kSlabRow;  // where a stage's right operand begins
  if constexpr (kHasWarpgroups) {
    auto& memory = shared_memory<WarpgroupMemory<T, kM, kN, kStages>>();
    const int tiles_n = (p.packed + kN - 1) / kN;
    const int64_t row0 = static_cast<int64_t>(blockIdx.x / tiles_n) * kM;
    const int column0 = static_cast<int>(blockIdx.x % tiles_n) * kN;
    const int stages = stages_of(p.left), begin = static_cast<int>(blockIdx.y) * stages_per_split;
    const int count = stages - begin < stages_per_split ? stages - begin : stages_per_split;
    const SharedAddress base = kept(shared_address(&memory));

    // This thread copies 16 bytes of every 32nd row: chunk `chunk` of slab `half`.
    const int tid = static_cast<int>(threadIdx.x), row = tid / 8, half = tid % 8 / 4, chunk = tid % 4;
    const SharedAddress place = base + swizzled(row, chunk) * static_cast<int>(sizeof(T));
    Window windows[kLoadsM];
#pragma unroll
    for (int j = 0; j < kLoadsM; j++) windows[j].begin(p.left, row0 + row + j * 32);
    Walk<T> walk(p.left, begin, half, chunk);
    int64_t places[kLoadsM];  // of the windows' pixels, in bytes
    const auto place_windows = [&] {
#pragma unroll
      for (int j = 0; j < kLoadsM; j++) places[j] = static_cast<int64_t>(windows[j].pixel) * walk.pixel_bytes;
    };
    place_windows();
    const int slabs = kept(p.left.slabs_of_tap()), width = kept(p.left.width);
    const int64_t depth =
        static_cast<int64_t>(p.left.kh * p.left.kw) * slabs * kSlab * sizeof(T);  // in bytes
    const char* weight = reinterpret_cast<const char*>(p.weight) + (column0 + row) * depth + chunk * 16;
    const int64_t depth32 = kept(32 * depth);
    const int columns_left = p.packed - column0 - row;

    // Stage begin + i to the ring's place s; an empty group past the end keeps the count of groups.
    const auto fetch = [&](int i, int s) {
      if (i < count) {
        const SharedAddress to = place + s * kStageBytes;
        const uint32_t bit = walk.used ? 1u << walk.tap : 0;
#pragma unroll
        for (int j = 0; j < kLoadsM; j++) {
          const char* from = walk.source + places[j];
          if constexpr (kUpsampled) {
            // Two positions lie on one pixel: this tap's is so many rows and columns before what walk has.
            const int dy = walk.tap_y - static_cast<int>(((windows[j].inside >> 31) + walk.tap_y) >> 1),
                      dx = walk.tap_x - static_cast<int>(((windows[j].inside >> 30 & 1) + walk.tap_x) >> 1);
            from -= static_cast<int64_t>(dy * width + dx) * walk.pixel_bytes;
          }
          cp_async_16<true>(to + half * kM * kSlabRow + j * 32 * kSlabRow, from, windows[j].inside & bit);
        }
        const char* from = weight + (walk.tap * slabs + walk.slab) * kSlabRow;
        const bool here = walk.slab < slabs;
#pragma unroll
        for (int j = 0; j < kLoadsN; j++, from += depth32)
          cp_async_16<false>(to + kRight + half * kN * kSlabRow + j * 32 * kSlabRow, from,
                             here && j * 32 < columns_left);
        if (walk.next()) place_windows();
      }
      cp_async_commit();
    };

    float sum[kParts][kN / 8][4] = {};
    const int group_row = tid / 128 * (kM / 2);
    const Operand left(base + group_row * kSlabRow), right(base + kRight);
#pragma unroll
    for (int i = 0; i < kStages - 2; i++) fetch(i, i);
    for (int i = 0, s = 0, ahead = kStages - 2; i < count; i++) {
      cp_async_wait<kStages - 3>();
      fence_products();
      sync_block();  // stage i is here, and stage i − 2 has been read by both warpgroups
      warpgroup_arrive();
#pragma unroll
      for (int k = 0; k < kDepth / 16; k++)
#pragma unroll
        for (int m = 0; m < kParts; m++)
          warpgroup_mma<T, kN>(
              sum[m],
              left.rows(s * kStageBytes + k / 2 * kM * kSlabRow + m * 64 * kSlabRow).channels(k % 2 * 32),
              right.rows(s * kStageBytes + k / 2 * kN * kSlabRow).channels(k % 2 * 32));
      warpgroup_commit();
      fetch(i + kStages - 2, ahead);
      warpgroup_wait<1>();
      if (++s == kStages) s = 0;
      if (++ahead == kStages) ahead = 0;
    }
    warpgroup_wait<0>();
    cp_async_wait<0>();
    const int lane_row = group_row + tid % 128 / kLanes * 16 + lane() / 4, lane_column = lane() % 4 * 2;
    if (partial) {
#pragma unroll
      for (int m = 0; m < kParts; m++) {
        take(sum[m]);
        write_partial(p, partial, row0 + lane_row + m * 64, column0 + lane_column, sum[m]);
      }
      return;
    }
    sync_block();
#pragma unroll
    for (int m = 0; m < kParts; m++) {
      take(sum[m]);
      memory.sums.put(lane_row + m * 64, lane_column, sum[m], p.finish.bias, column0, p.packed);
    }
    finish_tile<T, kM, kN, kThreads>(p, memory.sums, kHasRoom<T, kM, kN> ? memory.before : nullptr, row0,
                                     column0);
  }
}

// Microseconds of an H100, fitted to what tune/products.cu printed.
struct Shape {
  int rows, columns;
  int blocks;            // that run on a multiprocessor at once
  double stage, finish;  // of a stage of a tile; of its sums, where they are whole
};
constexpr Shape kShapes[] = {
    {128, 160, 1, 0.72, 2.0}, {128, 128, 1, 0.62, 1.4}, {128, 128, 2, 1.15, 1.3},
    {256, 128, 1, 1.00, 3.5}, {256, 160, 1, 1.14, 5.5},
};
constexpr double kTile = 5.4;  // of a tile beside its stages
constexpr double kSecondKernel = 2.5, kBytesPerMicrosecond = 3.5e6;

struct HopperCut {
  int shape, splits;
};

HopperCut choose(int64_t m, int n, int stages, int multiprocessors) {
  HopperCut best{0, 1};
  double least = INFINITY;
  for (int i = 0; i < static_cast<int>(std::size(kShapes)); i++) {
    const Shape& s = kShapes[i];
    const int64_t tiles = ceil_div(m, s.rows) * ceil_div(n, s.columns);
    for (int splits = 1; splits <= 16 && splits <= stages; splits++) {
      const auto waves = static_cast<double>(ceil_div(tiles * splits, multiprocessors * s.blocks));
      const double sums = static_cast<double>(m) * n * sizeof(float) * 2 * splits;
      const double time = waves * (s.stage * static_cast<double>(ceil_div(stages, splits)) + kTile) +
                          (splits == 1 ? s.finish : kSecondKernel + sums / kBytesPerMicrosecond);
      if (time < least) least = time, best = {i, splits};
    }
  }
  best.splits = static_cast<int>(ceil_div(stages, ceil_div(stages, best.splits)));  // none is empty
  return best;
}

template <class T, int kM, int kN, int kStages, int kBlocks>
void launch_tiles(Stream stream, const Product<T>& p, int splits, float* partial) {
  // A multiprocessor has 1 KB more, and takes as much for each block.
  static_assert(sizeof(WarpgroupMemory<T, kM, kN, kStages>) <= kShared &&
                (sizeof(WarpgroupMemory<T, kM, kN, kStages>) + 1024) * kBlocks <= kShared + 1024);
  const auto tiles = static_cast<unsigned>(ceil_div(p.left.rows, kM) * ceil_div(p.packed, kN));
  const auto run = [&](auto kernel) {
    launch(stream, kernel, {tiles, static_cast<unsigned>(splits), 1}, kThreads,
           sizeof(WarpgroupMemory<T, kM, kN, kStages>), p, partial, ceil_div(stages_of(p.left), splits));
  };
  if (p.left.shift)
    run(product_warpgroups<T, kM, kN, kStages, kBlocks, true>);
  else
    run(product_warpgroups<T, kM, kN, kStages, kBlocks, false>);
}

template <class T>
void launch_cut(Stream stream, const Product<T>& p, const HopperCut& cut, float* partial) {
  switch (cut.shape) {
    case 0:
      return launch_tiles<T, 128, 160, 5, 1>(stream, p, cut.splits, partial);
    case 1:
      return launch_tiles<T, 128, 128, 5, 1>(stream, p, cut.splits, partial);
    case 2:
      return launch_tiles<T, 128, 128, 3, 2>(stream, p, cut.splits, partial);
    case 3:
      return launch_tiles<T, 256, 128, 4, 1>(stream, p, cut.splits, partial);
    default:
      return launch_tiles<T, 256, 160, 4, 1>(stream, p, cut.splits, partial);
  }
}

}  // namespace

template <class T>
std::optional<Step> hopper_step(const Product<T>& p, const Chip& chip) {
  const Patches<T>& l = p.left;
  // Every window begins less than its own size before the input, and before its end.
  const bool inside = l.top < l.kh && l.left < l.kw && (l.out_height - 1) * l.stride - l.top < l.in_height &&
                      (l.out_width - 1) * l.stride - l.left < l.in_width;
  const bool suits = l.c1 % 8 == 0 && l.c2 % 8 == 0 && l.kh * l.kw <= 30 && inside && l.rows > 64 &&
                     p.packed >= 64 &&
                     l.rows / (int64_t{l.out_height} * l.out_width) * l.height * l.width <= INT32_MAX;
  if (!chip.warpgroups || !suits) return std::nullopt;
  const HopperCut cut = choose(l.rows, p.packed, stages_of(l), chip.multiprocessors);
  const auto run = [=](Stream stream, char* scratch) {
    float* partial = cut.splits > 1 ? reinterpret_cast<float*>(scratch) : nullptr;
    launch_cut(stream, p, cut, partial);
    if (partial) launch_finish(stream, p, partial, cut.splits);
  };
  return Step{run, cut.splits > 1 ? static_cast<size_t>(cut.splits) * l.rows * p.packed * sizeof(float) : 0};
}

template std::optional<Step> hopper_step(const Product<f16>&, const Chip&);
template std::optional<Step> hopper_step(const Product<bf16>&, const Chip&);

}  // namespace latent_edge::gpu
