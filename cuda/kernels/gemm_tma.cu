// The products of gemm.h on Hopper's warpgroups with copies by tensor maps (wgmma and TMA, sm_90a), 16-bit types: the
// same operands as gemm_hopper.cu, for what needs nothing but a bias, a time embedding and a residual, or is a GEGLU.
//
// One warp asks for the operands, two warpgroups compute. A stage of the ring holds 64 channels of one tap: the window's
// pixels of a tile of rows, and the weights. Signals say when a stage is full and when it has been read. A block computes
// several tiles, and copies go on to the next while the last one ends; where warpgroups take turns at tiles (kTurns), one
// computes while the other ends its own. What is added to a tile is what its sums begin with.
//
// An upsampled input is read as four products, of the even and odd lines and columns of y, each of whose taps lies the same
// way from the source's pixel for all rows.
#include "gemm_ends.h"
#include "gemm_tile.h"

namespace latent_edge::gpu {
namespace {

constexpr int kThreads = 384;                   // the third warpgroup copies, by one thread
constexpr int kCopying = 24, kComputing = 240;  // registers of a thread
constexpr int kDepth = kMapChannels;            // channels of a stage
constexpr size_t kShared = 227 << 10;           // of a block

template <class T, int kM, int kN, int kStages>
struct Ring {
  struct alignas(1024) Stage {
    T left[kM * kDepth], right[kN * kDepth];
  } stages[kStages];
  Signal full[kStages], empty[kStages];
  Signal turn[2];  // of a warpgroup, where they take turns
};

template <class T>
__host__ __device__ int stages_of(const Patches<T>& p) {
  return p.kh * p.kw * ((p.c1 + kDepth - 1) / kDepth + (p.c2 + kDepth - 1) / kDepth);
}

// How a product's tiles and the parts of their depth go round.
struct Round {
  int tiles_m, tiles_n;
  int tiles_of_class;  // of rows of the same parity, where the input is upsampled
  int rows_of_class;
  int stages, stages_per_split, items;
  bool down;     // tiles that follow each other lie below each other
  bool windows;  // rows are no matrix
};

struct Item {
  int row0, column0, parity;  // row0: of the parity's rows
  int split, begin, count;    // begin, count: of stages

  template <int kM, int kN>
  static __device__ __forceinline__ Item at(const Round& r, int i) {
    const int tiles = r.tiles_m * r.tiles_n;
    Item item;
    item.split = i / tiles;
    const int tile = i - item.split * tiles;
    const int m = r.down ? tile % r.tiles_m : tile / r.tiles_n;
    const int n = r.down ? tile / r.tiles_m : tile % r.tiles_n;
    item.parity = m / r.tiles_of_class;
    item.row0 = (m - item.parity * r.tiles_of_class) * kM;
    item.column0 = n * kN;
    item.begin = item.split * r.stages_per_split;
    item.count = r.stages - item.begin < r.stages_per_split ? r.stages - item.begin : r.stages_per_split;
    return item;
  }
};

// The row of y that row `row` of its parity is.
template <class T>
__device__ __forceinline__ int row_of(const Patches<T>& p, int row, int parity) {
  if (!p.shift) return row;
  const int line = row / p.width, x = row - line * p.width;
  return (line * 2 + parity / 2) * p.out_width + x * 2 + parity % 2;
}

template <class T, int kM, int kN, int kStages, bool kTurns>
__global__ void __launch_bounds__(kThreads, 1)
    product_mapped(const Product<T> p, const __grid_constant__ TensorMap x,
                   const __grid_constant__ TensorMap x2, const __grid_constant__ TensorMap weight,
                   float* partial, const Round round) {
  if constexpr (kHasWarpgroups) {
    using Memory = Ring<T, kM, kN, kStages>;
    constexpr int kRow = kDepth * sizeof(T), kStageBytes = (kM + kN) * kRow;
    constexpr int kGroupRows = kTurns ? kM : kM / 2, kParts = kGroupRows / 64;  // of a warpgroup
    auto& memory = shared_memory<Memory>();
    const SharedAddress ring = shared_address(&memory);
    if (threadIdx.x == 0) {
      for (int s = 0; s < kStages; s++) memory.full[s].begin(1), memory.empty[s].begin(kTurns ? 4 : 8);
      for (Signal& turn : memory.turn) turn.begin(4);
    }
    if (threadIdx.x == 256) prefetch_map(x), prefetch_map(x2), prefetch_map(weight);
    fence_products();
    sync_block();
    const int step = static_cast<int>(gridDim.x);

    const int group = warp() / 4;
    if (group == 2) {
      keep_registers<kCopying>();
      if (threadIdx.x % 128 != 0) return;
      const Patches<T>& l = p.left;
      const int taps = l.kh * l.kw, chunks1 = (l.c1 + kDepth - 1) / kDepth;
      const int slabs = l.slabs_of_tap(), slabs1 = l.slabs1();
      const int lines = l.shift ? l.height : l.out_height, columns = l.shift ? l.width : l.out_width;
      int s = 0;
      uint32_t parity = 1;
      for (int i = static_cast<int>(blockIdx.x); i < round.items; i += step) {
        const auto item = Item::at<kM, kN>(round, i);
        int chunk = item.begin / taps, tap = item.begin - chunk * taps;
        int tap_y = tap / l.kw, tap_x = tap - tap_y * l.kw;
        // Where the first row's window begins; of what is upsampled, its pixel of the source.
        const int line = item.row0 / columns, image = line / lines;
        const int left = l.shift ? -l.left >> 1 : -l.left, top = l.shift ? -l.top >> 1 : -l.top;
        const int from_x = (item.row0 - line * columns) * l.stride + left,
                  from_y = (line - image * lines) * l.stride + top;
        const int odd_x = item.parity % 2 - l.left, odd_y = item.parity / 2 - l.top;
        for (int j = 0; j < item.count; j++) {
          const bool second = chunk >= chunks1;
          const int of_source = second ? chunk - chunks1 : chunk;
          memory.empty[s].await(parity);
          Signal& full = memory.full[s];
          full.raise(kStageBytes);
          const SharedAddress to = ring + s * kStageBytes;
          const TensorMap& map = second ? x2 : x;
          if (round.windows) {
            const int right = l.shift ? ((odd_x + tap_x) >> 1) - left : tap_x,
                      below = l.shift ? ((odd_y + tap_y) >> 1) - top : tap_y;
            copy_windows(to, map, of_source * kDepth, from_x, from_y, image, right, below, full);
          } else {
            copy_rows(to, map, of_source * kDepth, item.row0, full);
          }
          // The weights of a source's last channels may be followed by others', which meet zeros.
          const int slab = tap * slabs + (second ? slabs1 : 0) + of_source * 2;
          copy_rows(to + kM * kRow, weight, slab * kSlab, item.column0, full);
          tap++, tap_x++;
          if (tap_x == l.kw) tap_x = 0, tap_y++;
          if (tap == taps) tap = tap_y = 0, chunk++;
          if (++s == kStages) s = 0, parity ^= 1;
        }
      }
      return;
    }

    take_registers<kComputing>();
    const int group_row = (kTurns ? 0 : group * kGroupRows) + warp() % 4 * 16 + lane() / 4;
    const Operand left(ring + (kTurns ? 0 : group * kGroupRows * kRow), kRow), right(ring + kM * kRow, kRow);
    unsigned ahead = 0;  // stages of the items before
    bool passes = group == 0;
    uint32_t turns = group == 0;
    for (int i = static_cast<int>(blockIdx.x); i < round.items; i += step) {
      const auto item = Item::at<kM, kN>(round, i);
      int s = static_cast<int>(ahead % kStages), before = 0;
      uint32_t parity = ahead / kStages & 1;
      ahead += static_cast<unsigned>(item.count);
      if (kTurns) {
        passes = !passes;
        if (passes) continue;
      }
      int rows[kParts][2];  // of y
      float sum[kParts][kN / 8][4] = {};
#pragma unroll
      for (int m = 0; m < kParts; m++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const int row = item.row0 + group_row + m * 64 + h * 8;
          rows[m][h] = row < round.rows_of_class ? row_of(p.left, row, item.parity) : -1;
        }
        if (!partial)
          begin_sums<kParts * kN <= 160 ? 2 : 1>(p.finish, rows[m], item.column0, p.packed, sum[m]);
      }
      const auto begin_products = [&] {
        memory.full[s].await(parity);
        warpgroup_arrive();
#pragma unroll
        for (int k = 0; k < kDepth / 16; k++)
#pragma unroll
          for (int m = 0; m < kParts; m++)
            warpgroup_mma<T, kN>(sum[m], left.rows(s * kStageBytes + m * 64 * kRow).channels(k * 32),
                                 right.rows(s * kStageBytes).channels(k * 32));
        warpgroup_commit();
        before = s;
        if (++s == kStages) s = 0, parity ^= 1;
      };
      if (kTurns) {  // the stages of the tile before have all been full, so that no signal is a round behind
        memory.turn[group].await(turns);
        turns ^= 1;
      }
      begin_products();
      for (int j = 1; j < item.count; j++) {
        const int read = before;
        begin_products();
        warpgroup_wait<1>();
        if (lane() == 0) memory.empty[read].raise();
      }
      if (kTurns && lane() == 0) memory.turn[1 - group].raise();
      warpgroup_wait<0>();
      if (lane() == 0) memory.empty[before].raise();
#pragma unroll
      for (int m = 0; m < kParts; m++) {
        take(sum[m]);
        if (partial) {
#pragma unroll
          for (int h = 0; h < 2; h++)
            if (rows[m][h] >= 0)
              write_sums(partial + (item.split * p.left.rows + rows[m][h]) * p.packed, p.packed,
                         item.column0 + lane() % 4 * 2, sum[m], h);
        } else if (p.finish.activation == Activation::geglu) {
          write_gated_rows(p.finish, rows[m], item.column0, sum[m]);
        } else {
          write_rows(p.finish, rows[m], item.column0, sum[m]);
        }
      }
    }
  }
}

// Microseconds of an H100, fitted to what tune/products.cu printed.
struct Shape {
  int rows, columns;
  bool turns;
  double stage, finish;  // of a stage of a tile; of its sums, where they are whole
};
constexpr Shape kShapes[] = {
    {128, 160, false, 0.42, 1.6}, {128, 128, false, 0.32, 1.6}, {128, 256, false, 0.65, 2.5},
    {256, 128, false, 0.67, 2.5}, {256, 160, false, 0.82, 3.5}, {128, 160, true, 0.45, 2.9},
    {128, 128, true, 0.35, 2.1},
};
constexpr double kLaunch = 3.1, kSecondKernel = 0.9, kBytesPerMicrosecond = 4.5e6;
constexpr double kGeglu = 1.34;  // times as long is a tile's finish then

// Of the rows whose parity is the same, where the input is upsampled.
template <class T>
int rows_of_class(const Patches<T>& p) {
  return static_cast<int>(p.shift ? p.rows / 4 : p.rows);
}
template <class T>
int tiles_of(const Product<T>& p, int rows, int columns) {
  return static_cast<int>(ceil_div(rows_of_class(p.left), rows) * (p.left.shift ? 4 : 1) *
                          ceil_div(p.packed, columns));
}

struct MappedCut {
  int shape, splits;
};

template <class T>
MappedCut choose(const Product<T>& p, int multiprocessors) {
  const int stages = stages_of(p.left);
  const bool geglu = p.finish.activation == Activation::geglu;
  MappedCut best{0, 1};
  double least = INFINITY;
  for (int i = 0; i < static_cast<int>(std::size(kShapes)); i++) {
    const Shape& s = kShapes[i];
    if (geglu && s.turns) continue;  // they were no faster
    const double finish = s.finish * (geglu ? kGeglu : 1);
    for (int splits = 1; splits <= 16 && splits <= stages; splits++) {
      const int tiles = tiles_of(p, s.rows, s.columns) * splits;
      const auto waves = static_cast<double>(ceil_div(tiles, multiprocessors));
      const double products = s.stage * static_cast<double>(ceil_div(stages, splits));
      // Of two warpgroups in turn one finishes while the other computes, if there is time.
      const double all = s.turns ? waves * std::fmax(products, (products + finish) / 2) + finish
                                 : waves * (products + finish);
      const double sums = static_cast<double>(p.left.rows) * p.packed * sizeof(float) * 2 * splits;
      const double time = kLaunch + all + (splits == 1 ? 0 : kSecondKernel + sums / kBytesPerMicrosecond);
      if (time < least) least = time, best = {i, splits};
    }
  }
  best.splits = static_cast<int>(ceil_div(stages, ceil_div(stages, best.splits)));  // none is empty
  return best;
}

struct Maps {
  TensorMap x, x2, weight;
};

// Where the windows begin, in pixels of the source.
template <class T>
WindowGrid grid_of(const Patches<T>& p) {
  const int images = static_cast<int>(p.rows / (int64_t{p.out_height} * p.out_width));
  if (p.shift) return {images, p.height, p.width, -p.left >> 1, -p.top >> 1, p.width, p.height, 1};
  return {images, p.height, p.width, -p.left, -p.top, p.out_width, p.out_height, p.stride};
}

template <class T>
bool is_matrix(const Patches<T>& p) {
  return p.kh * p.kw == 1 && p.stride == 1 && !p.shift && p.top == 0 && p.left == 0 &&
         p.out_height == p.height && p.out_width == p.width;
}

template <class T>
Maps maps_of(const Product<T>& p, const Shape& shape) {
  const Patches<T>& l = p.left;
  const auto left = [&](const T* data, int channels) {
    return is_matrix(l) ? map_rows(data, l.rows, channels, shape.rows)
                        : map_windows(data, channels, grid_of(l), shape.rows);
  };
  const TensorMap x = left(l.x, l.c1);
  return {x, l.c2 ? left(l.x2, l.c2) : x,
          map_rows(p.weight, p.packed, int64_t{l.slabs()} * kSlab, shape.columns)};
}

template <class T, int kM, int kN, int kStages, bool kTurns>
void launch_tiles(Stream stream, const Product<T>& p, const Maps& maps, int splits, int multiprocessors,
                  float* partial) {
  using Memory = Ring<T, kM, kN, kStages>;
  static_assert(sizeof(Memory) <= kShared);
  const Patches<T>& l = p.left;
  Round round;
  round.rows_of_class = rows_of_class(l);
  round.tiles_of_class = static_cast<int>(ceil_div(round.rows_of_class, kM));
  round.tiles_m = (l.shift ? 4 : 1) * round.tiles_of_class;
  round.tiles_n = static_cast<int>(ceil_div(p.packed, kN));
  round.stages = stages_of(l), round.stages_per_split = static_cast<int>(ceil_div(round.stages, splits));
  round.items = round.tiles_m * round.tiles_n * splits;
  round.down = round.tiles_m <= round.tiles_n;
  round.windows = !is_matrix(l);
  const auto blocks = static_cast<unsigned>(round.items < multiprocessors ? round.items : multiprocessors);
  launch(stream, product_mapped<T, kM, kN, kStages, kTurns>, {blocks, 1, 1}, kThreads, sizeof(Memory), p,
         maps.x, maps.x2, maps.weight, partial, round);
}

template <class T>
void launch_cut(Stream stream, const Product<T>& p, const Maps& maps, const MappedCut& cut,
                int multiprocessors, float* partial) {
  const auto run = [&](auto launch_it) { launch_it(stream, p, maps, cut.splits, multiprocessors, partial); };
  switch (cut.shape) {
    case 0:
      return run(launch_tiles<T, 128, 160, 6, false>);
    case 1:
      return run(launch_tiles<T, 128, 128, 7, false>);
    case 2:
      return run(launch_tiles<T, 128, 256, 4, false>);
    case 3:
      return run(launch_tiles<T, 256, 128, 4, false>);
    case 4:
      return run(launch_tiles<T, 256, 160, 4, false>);
    case 5:
      return run(launch_tiles<T, 128, 160, 6, true>);
    default:
      return run(launch_tiles<T, 128, 128, 7, true>);
  }
}

template <class T>
bool suits(const Product<T>& p) {
  const Patches<T>& l = p.left;
  const Finish<T>& f = p.finish;
  const bool geglu = f.activation == Activation::geglu;
  const bool ends = !f.scale && (geglu ? !f.temb && !f.residual : f.activation == Activation::none);
  const bool columns = p.packed >= 64 && p.packed % 8 == 0 && f.columns % 8 == 0;
  const bool doubled = l.in_height == 2 * l.height && l.in_width == 2 * l.width && l.stride == 1 &&
                       l.out_height == l.in_height && l.out_width == l.in_width;
  const bool channels = l.c1 > 0 && l.c1 % 8 == 0 && l.c2 % 8 == 0;
  return ends && columns && channels && (!l.shift || doubled) && l.rows > 64 && l.rows <= INT32_MAX - 256 &&
         l.kh <= 64 && l.kw <= 64 && (is_matrix(l) || grid_of(l).fits());
}

}  // namespace

template <class T>
std::optional<Step> mapped_step(const Product<T>& p, const Chip& chip) {
  if (!chip.warpgroups || !suits(p)) return std::nullopt;
  const MappedCut cut = choose(p, chip.multiprocessors);
  const auto maps = std::make_shared<const Maps>(maps_of(p, kShapes[cut.shape]));
  const auto run = [=, multiprocessors = chip.multiprocessors](Stream stream, char* scratch) {
    float* partial = cut.splits > 1 ? reinterpret_cast<float*>(scratch) : nullptr;
    launch_cut(stream, p, *maps, cut, multiprocessors, partial);
    if (partial) launch_finish(stream, p, partial, cut.splits);
  };
  return Step{run,
              cut.splits > 1 ? static_cast<size_t>(cut.splits) * p.left.rows * p.packed * sizeof(float) : 0};
}

template std::optional<Step> mapped_step(const Product<f16>&, const Chip&);
template std::optional<Step> mapped_step(const Product<bf16>&, const Chip&);

}  // namespace latent_edge::gpu
