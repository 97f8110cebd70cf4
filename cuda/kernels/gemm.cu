// The kernels of gemm.h: tensor cores for 16-bit storage (m16n8k16, float32 sums), plain multiply-adds for float32.
//
// A block computes a tile of y. Slabs of both operands go through a ring of shared-memory stages, copied asynchronously
// 16 bytes at a time; rows of 64 bytes are swizzled so that ldmatrix reads all banks. Tiles of 128×160 fit the U-Nets'
// 320, 640 and 1280 channels exactly, 128×128 the autoencoder's; 64×64 is for what is small or has odd channel counts.
// Where tiles are fewer than multiprocessors the depth is split: partial sums go to scratch in float32 and are added
// up in order by a second kernel (finish.cu).
#include "gemm_tile.h"

namespace latent_edge::gpu {
namespace {

constexpr int kStages = 4;

template <class T, int kM, int kN>
union TileMemory {
  struct {
    T left[kStages][kM * kSlab], right[kStages][kN * kSlab];
  };
  Sums<kM, kN> sums;
};

// kAligned: channel counts are multiples of 8, so that 16 bytes lie within one pixel.
template <class T, int kM, int kN, int kWarpsM, int kWarpsN, bool kAligned>
__global__ void __launch_bounds__(kWarpsM* kWarpsN* kLanes)
    product(const Product<T> p, float* partial, int slabs_per_split) {
  constexpr int kThreads = kWarpsM * kWarpsN * kLanes;
  constexpr int kRows = kM / kWarpsM, kColumns = kN / kWarpsN;  // of a warp
  constexpr int kTilesM = kRows / 16, kTilesN = kColumns / 8;
  constexpr int kLoadsM = kM * 4 / kThreads, kLoadsN = (kN * 4 + kThreads - 1) / kThreads;
  static_assert(kM * 4 % kThreads == 0 && kColumns % 16 == 0 && kRows % 16 == 0);
  auto& memory = shared_memory<TileMemory<T, kM, kN>>();

  // Tiles of one row of tiles follow each other: they read the same rows of the left operand.
  const int tiles_n = (p.packed + kN - 1) / kN;
  const int64_t row0 = static_cast<int64_t>(blockIdx.x / tiles_n) * kM;
  const int column0 = static_cast<int>(blockIdx.x % tiles_n) * kN;
  const int slabs = p.left.slabs(), begin = static_cast<int>(blockIdx.y) * slabs_per_split;
  const int count = slabs - begin < slabs_per_split ? slabs - begin : slabs_per_split;
  const int64_t depth = static_cast<int64_t>(slabs) * kSlab;
  const int tid = static_cast<int>(threadIdx.x);

  Row<T> rows[kLoadsM];
#pragma unroll
  for (int i = 0; i < kLoadsM; i++) rows[i].begin(p.left, row0 + (tid + i * kThreads) / 4);
  Slab<T> at(p.left, begin);
  const int chunk = tid % 4 * 8;

  // Slab begin + i into its stage; an empty group past the end keeps the count of groups.
  const auto fetch = [&](int i) {
    if (i < count) {
      T* left = memory.left[i % kStages];
      T* right = memory.right[i % kStages];
#pragma unroll
      for (int j = 0; j < kLoadsM; j++) {
        T* to = left + swizzled((tid + j * kThreads) / 4, tid % 4);
        const T* from = rows[j].at(p.left, at, chunk);
        if constexpr (kAligned) {
          cp_async<16>(to, from ? from : p.left.x, from != nullptr);
        } else {
          Vec<T, 8> v;
          const int channels = from ? rows[j].left_of(p.left, at, chunk) : 0;
          for (int c = 0; c < 8; c++) v.at[c] = c < channels ? from[c] : from_float<T>(0);
          store(to, v);
        }
      }
#pragma unroll
      for (int j = 0; j < kLoadsN; j++) {
        const int n = (tid + j * kThreads) / 4, column = column0 + n;
        if (kN * 4 % kThreads && n >= kN) break;
        const bool valid = column < p.packed;
        cp_async<16>(right + swizzled(n, tid % 4),
                     valid ? p.weight + column * depth + (begin + i) * kSlab + chunk : p.weight, valid);
      }
      at.next(p.left);
    }
    cp_async_commit();
  };

  float sum[kTilesM][kTilesN][4] = {};
  const int warp_row = warp() / kWarpsN * kRows, warp_column = warp() % kWarpsN * kColumns;
#pragma unroll
  for (int i = 0; i < kStages - 1; i++) fetch(i);
  for (int i = 0; i < count; i++) {
    cp_async_wait<kStages - 2>();
    sync_block();  // slab i is here, and slab i − 1 has been read by all
    fetch(i + kStages - 1);
    const T* left = memory.left[i % kStages];
    const T* right = memory.right[i % kStages];
#pragma unroll
    for (int k = 0; k < kSlab / 16; k++) {
      uint32_t a[kTilesM][4], b[kTilesN][2];
#pragma unroll
      for (int m = 0; m < kTilesM; m++)
        ldmatrix(a[m], left + swizzled(warp_row + m * 16 + lane() % 16, k * 2 + lane() / 16));
#pragma unroll
      for (int n = 0; n < kTilesN; n += 2) {
        uint32_t both[4];
        ldmatrix(both, right + swizzled(warp_column + n * 8 + lane() / 16 * 8 + lane() % 8,
                                        k * 2 + lane() / 8 % 2));
        b[n][0] = both[0], b[n][1] = both[1], b[n + 1][0] = both[2], b[n + 1][1] = both[3];
      }
#pragma unroll
      for (int m = 0; m < kTilesM; m++)
#pragma unroll
        for (int n = 0; n < kTilesN; n++) mma<T>(sum[m][n], a[m], b[n]);
    }
  }
  cp_async_wait<0>();

  const int lane_row = warp_row + lane() / 4, lane_column = warp_column + lane() % 4 * 2;
  if (partial) {
#pragma unroll
    for (int m = 0; m < kTilesM; m++)
      write_partial(p, partial, row0 + lane_row + m * 16, column0 + lane_column, sum[m]);
    return;
  }
  sync_block();
#pragma unroll
  for (int m = 0; m < kTilesM; m++)
    memory.sums.put(lane_row + m * 16, lane_column, sum[m], p.finish.bias, column0, p.packed);
  finish_tile<T, kM, kN, kThreads>(p, memory.sums, nullptr, row0, column0);
}

// The same sums in float32, into `partial`. 64×64 tiles, 4×4 a thread.
struct PlainMemory {
  float left[kSlab][64 + 4], right[kSlab][64 + 4];
};

__global__ void __launch_bounds__(256) product_plain(const Product<float> p, float* partial) {
  auto& memory = shared_memory<PlainMemory>();
  const int tiles_n = (p.packed + 63) / 64, tid = static_cast<int>(threadIdx.x);
  const int64_t row0 = static_cast<int64_t>(blockIdx.x / tiles_n) * 64;
  const int column0 = static_cast<int>(blockIdx.x % tiles_n) * 64;
  const int64_t depth = static_cast<int64_t>(p.left.slabs()) * kSlab;
  const int r = tid / 4, c = tid % 4 * 8;  // what this thread loads: eight channels of one row
  Row<float> row;
  row.begin(p.left, row0 + r);
  Slab<float> at(p.left, 0);
  float sum[4][4] = {};
  for (int64_t k0 = 0; k0 < depth; k0 += kSlab) {
    const float* from = row.at(p.left, at, c);
    const int channels = from ? row.left_of(p.left, at, c) : 0;
    for (int j = 0; j < 8; j++) {
      memory.left[c + j][r] = j < channels ? from[j] : 0;
      memory.right[c + j][r] = column0 + r < p.packed ? p.weight[(column0 + r) * depth + k0 + c + j] : 0;
    }
    at.next(p.left);
    sync_block();
    for (int k = 0; k < kSlab; k++) {
      const auto a = load<Vec<float, 4>>(&memory.left[k][tid / 16 * 4]);
      const auto b = load<Vec<float, 4>>(&memory.right[k][tid % 16 * 4]);
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) sum[i][j] += a.at[i] * b.at[j];
    }
    sync_block();
  }
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {
      const int64_t m = row0 + tid / 16 * 4 + i;
      const int n = column0 + tid % 16 * 4 + j;
      if (m < p.left.rows && n < p.packed) partial[m * p.packed + n] = sum[i][j];
    }
}

// The time of a cut in arbitrary units: waves of tiles, each as long as its slabs and its way in and out; smaller
// tiles read more of shared memory for each product.
Cut choose(int64_t m, int n, int slabs, bool aligned, int multiprocessors) {
  struct Shape {
    int rows, columns;
    double price;
  };
  Cut best{64, 64, 1};
  double least = INFINITY;
  for (const Shape& s : {Shape{128, 160, 1.0}, Shape{128, 128, 1.05}, Shape{64, 64, 1.5}}) {
    if (!aligned && s.rows != 64) continue;
    const int64_t tiles = ceil_div(m, s.rows) * ceil_div(n, s.columns);
    for (int splits = 1; splits <= 16 && splits <= slabs / 4 + 1; splits++) {
      // Small tiles run two to a multiprocessor.
      const double waves =
          static_cast<double>(ceil_div(tiles * splits, multiprocessors * (s.rows == 64 ? 2 : 1)));
      const double tile = static_cast<double>(s.rows * s.columns) * (s.rows == 64 ? 2 : 1);
      const double sums = splits == 1 ? 0 : 3.0 * splits * static_cast<double>(m) * n / multiprocessors;
      const double time = waves * tile * s.price * (static_cast<double>(ceil_div(slabs, splits)) + 6) + sums;
      if (time < least) least = time, best = {s.rows, s.columns, splits};
    }
  }
  best.splits = static_cast<int>(ceil_div(slabs, ceil_div(slabs, best.splits)));  // none is empty
  return best;
}

template <class T, int kM, int kN, int kWarpsM, int kWarpsN, bool kAligned>
void launch_product(Stream stream, const Product<T>& p, const Cut& cut, float* partial) {
  const auto tiles = static_cast<unsigned>(ceil_div(p.left.rows, kM) * ceil_div(p.packed, kN));
  launch(stream, product<T, kM, kN, kWarpsM, kWarpsN, kAligned>,
         {tiles, static_cast<unsigned>(cut.splits), 1}, kWarpsM * kWarpsN * kLanes,
         sizeof(TileMemory<T, kM, kN>), p, partial, ceil_div(p.left.slabs(), cut.splits));
}

}  // namespace

template <class T>
Step hand_step(const Product<T>& p, const Chip& chip) {
  if constexpr (!std::is_same_v<T, float>) {
    if (auto step = mapped_step(p, chip)) return *step;
    if (auto step = hopper_step(p, chip)) return *step;
  }
  const bool aligned = p.left.c1 % 8 == 0 && p.left.c2 % 8 == 0;
  if constexpr (std::is_same_v<T, float>) {
    const auto run = [=](Stream stream, char* scratch) {
      float* partial = reinterpret_cast<float*>(scratch);
      const auto tiles = static_cast<unsigned>(ceil_div(p.left.rows, 64) * ceil_div(p.packed, 64));
      launch(stream, product_plain, {tiles, 1, 1}, 256, sizeof(PlainMemory), p, partial);
      launch_finish(stream, p, partial, 1);
    };
    return {run, static_cast<size_t>(p.left.rows) * p.packed * sizeof(float)};
  } else {
    const Cut cut = choose(p.left.rows, p.packed, p.left.slabs(), aligned, chip.multiprocessors);
    const auto run = [=](Stream stream, char* scratch) {
      float* partial = cut.splits > 1 ? reinterpret_cast<float*>(scratch) : nullptr;
      if (!aligned)
        launch_product<T, 64, 64, 2, 2, false>(stream, p, cut, partial);
      else if (cut.rows == 64)
        launch_product<T, 64, 64, 2, 2, true>(stream, p, cut, partial);
      else if (cut.columns == 128)
        launch_product<T, 128, 128, 4, 2, true>(stream, p, cut, partial);
      else
        launch_product<T, 128, 160, 4, 2, true>(stream, p, cut, partial);
      if (partial) launch_finish(stream, p, partial, cut.splits);
    };
    const size_t sums =
        cut.splits > 1 ? static_cast<size_t>(cut.splits) * p.left.rows * p.packed * sizeof(float) : 0;
    return {run, sums};
  }
}

template Step hand_step(const Product<f16>&, const Chip&);
template Step hand_step(const Product<bf16>&, const Chip&);
template Step hand_step(const Product<float>&, const Chip&);

}  // namespace latent_edge::gpu
