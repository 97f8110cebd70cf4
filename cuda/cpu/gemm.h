// Matrix product with packed weights: out[m][n] = finish(Σ_k left[m][k]·right[k][n]).
//
// The right operand (weights, [n][k] in the checkpoint) is packed once into panels of nr columns, each
// [k][nr], in the numbers that the checkpoint has, or in 8 bits; narrow ones are widened a block at a time when a
// task comes to them. The left operand is whatever `left.copy` copies: rows of a matrix, or patches of an image (an implicit
// convolution). A task is a tile of the output; it copies mc × kc of the left operand into L2, sweeps the
// panels of its columns over it, adds up over k in a private tile of floats, and finishes that tile once.
// After Goto and van de Geijn, doi:10.1145/1356052.1356053.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "eight_bits.h"
#include "isa.h"
#include "kernel.h"

namespace latent_edge {

inline int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
inline int64_t round_up(int64_t a, int64_t b) {
  return ceil_div(a, b) * b;
}

// `floats` rounded up to whole cache lines.
inline int64_t lines(int64_t floats) {
  return round_up(floats, 16);
}

// Rows in strips of at most mr, as even as can be, since a tile of few rows waits for its own sums (AVX2, of the full rate:
// 6 and 5 rows all, 4 rows 0.87, 3 rows 0.7, 2 rows a half). Made once for many turns, since it divides: three divisions before
// each tile of an attention's scores were 5 % of its time.
struct Strips {
  int64_t count, least, more;

  explicit Strips(int64_t rows) : count(ceil_div(rows, isa().mr)), least(rows / count), more(rows % count) {}

  // body(row, m)
  template <class Body>
  void each(Body body) const {
    for (int64_t s = 0, row = 0; s < count; s++) {
      const int64_t m = s < more ? least + 1 : least;
      body(row, static_cast<int>(m));
      row += m;
    }
  }
};

// Asks for numbers before they are wanted, the same number of cache lines at each turn, lest other loads wait for many at
// once. To L1: to L2 was 1 % slower. Nothing but time depends on it: a block that does not begin with a line lacks its last.
class Ahead {
 public:
  Ahead() = default;
  // `runs` of so many bytes, `apart` bytes from one to the next.
  Ahead(const void* from, int64_t bytes, int64_t apart, int64_t runs)
      : from_(static_cast<const char*>(from)), bytes_(bytes), apart_(apart), runs_(runs) {}

  // How many lines it is to ask for at each of so many turns.
  int64_t share(int64_t turns) const { return ceil_div(ceil_div(bytes_, kLine) * runs_, turns); }
  void next(int64_t lines) {
    for (; lines > 0 && runs_ > 0; lines--) {
      __builtin_prefetch(from_ + done_);
      done_ += kLine;
      if (done_ < bytes_) continue;
      done_ = 0;
      if (--runs_ > 0) from_ += apart_;
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  const char* from_ = nullptr;
  int64_t bytes_ = 0, apart_ = 0, runs_ = 0, done_ = 0;
};

// A matrix in memory, its rows `stride` floats apart.
struct Rows {
  const float* data = nullptr;
  int64_t stride = 0;

  void copy(int64_t row, int64_t rows, int64_t col, int64_t cols, float* to) const {
    for (int64_t i = 0; i < rows; i++)
      std::memcpy(to + i * kRowStride, data + (row + i) * stride + col, cols * sizeof(float));
  }
  // `cols` may count columns that a panel is padded with.
  Ahead ahead(int64_t row, int64_t rows, int64_t col, int64_t cols) const {
    if (!data) return {};
    constexpr int64_t bytes = sizeof(float);
    return {data + row * stride + col, std::min(cols, stride - col) * bytes, stride * bytes, rows};
  }
};

struct GemmTiling {
  // Floats of the left operand's block, which stays in an L2 of 1 MB beside the tile.
  static constexpr int64_t kBlock = 73728;
  int64_t m, n, k;     // n: packed columns (a multiple of nr)
  int64_t mc, nc, kc;  // one task's rows and columns, and the depth it takes at a time

  GemmTiling(int64_t m, int64_t n, int64_t k, int threads) : m(m), n(n), k(k) {
    const int64_t mr = isa().mr, nr = isa().nr, most = isa().depth;
    kc = ceil_div(k, ceil_div(k, most));
    mc = std::min(round_up(m, mr), kBlock / most / mr * mr);
    nc = std::min(n, 320 / nr * nr);
    // Enough tasks to keep every thread busy to the end.
    const auto tasks = [&] { return ceil_div(m, mc) * ceil_div(n, nc); };
    while (threads > 1 && tasks() < 4 * threads && nc > 2 * nr) nc = round_up(nc / 2, nr);
    while (threads > 1 && tasks() < 4 * threads && mc > 2 * mr) mc = round_up(mc / 2, mr);
  }
  // Of one thread: the left operand's block, the tile, a widened block of a panel.
  int64_t scratch_floats() const {
    return lines(mc * kRowStride) + lines(mc * nc) + lines(isa().depth * isa().nr);
  }
};

// Packs n columns into panels, their depth taps × channels. at(column, channel, tap) is the number there.
// Sixteen channels at a time: in a checkpoint's row the taps of a channel lie side by side, and stay in L1
// meanwhile.
template <class T, class At>
void pack_panel(int64_t first, int64_t n, int64_t channels, int64_t taps, T* packed, At at) {
  const int64_t nr = isa().nr, last = std::min(n, first + nr);
  for (int64_t c0 = 0; c0 < channels; c0 += 16)
    for (int64_t t = 0; t < taps; t++)
      for (int64_t c = c0; c < std::min(channels, c0 + 16); c++) {
        T* to = packed + (t * channels + c) * nr;
        for (int64_t j = first; j < last; j++) to[j - first] = at(j, c, t);
        for (int64_t j = last; j < first + nr; j++) to[j - first] = 0;
      }
}
template <class T, class At>
void pack_panels(int64_t n, int64_t channels, int64_t taps, T* packed, ThreadPool& pool, At at) {
  const int64_t nr = isa().nr, panel = taps * channels * nr;
  pool.parallel_for(ceil_div(n, nr),
                    [&](int64_t p, int) { pack_panel(p * nr, n, channels, taps, packed + p * panel, at); });
}
inline int64_t packed_columns(int64_t n) {
  return round_up(n, isa().nr);
}
// The same in 8 bits, each column with its scale. at() gives numbers of `element`, as T has their bits.
template <class T, class At>
void pack_eight_bits(Element element, int64_t n, int64_t channels, int64_t taps, float* scales,
                     int8_t* packed, ThreadPool& pool, At at) {
  const int64_t nr = isa().nr, depth = taps * channels, panel = depth * nr;
  pool.parallel_for(ceil_div(n, nr), [&](int64_t p, int) {
    std::vector<T> narrow(panel);
    std::vector<float> wide(panel);
    pack_panel(p * nr, n, channels, taps, narrow.data(), at);
    isa().widen(element, narrow.data(), wide.data(), panel);
    quantize_columns(wide.data(), depth, nr, packed + p * panel, scales + p * nr);
  });
}

// A weight as the right operand: panels of nr columns, each [depth][nr], depth running over taps, then channels.
class Panels {
 public:
  Panels() = default;
  // place(column, channel, tap): where that number stands in the checkpoint's tensor; −1: zero. `form` names the order.
  template <class Place>
  Panels(BindContext& context, const WeightRef& ref, const std::string& form, int64_t columns,
         int64_t channels, int64_t taps, Place place)
      : depth_(taps * channels) {
    const int64_t packed_n = packed_columns(columns);
    const bool eight_bits = context.weights.in_eight_bits(ref);
    if (eight_bits) numbers_at_ = lines(packed_n) * sizeof(float);
    const auto fill = [&]<class T>(Element element, const T* raw, void* packed) {
      const auto at = [&place, raw](int64_t column, int64_t channel, int64_t tap) {
        const int64_t at = place(column, channel, tap);
        return at < 0 ? 0 : raw[at];
      };
      if (eight_bits)
        pack_eight_bits<T>(element, columns, channels, taps, static_cast<float*>(packed),
                           static_cast<int8_t*>(packed) + numbers_at_, context.pool, at);
      else
        pack_panels(columns, channels, taps, static_cast<T*>(packed), context.pool, at);
    };
    memory_ = context.weights.get_narrow(
        ref, eight_bits ? form + ".i8" : form, numbers_at_ + packed_n * depth_,
        [&](Element element, const void* raw, void* packed) {
          if (element == Element::f32)
            fill(element, static_cast<const float*>(raw), packed);
          else
            fill(element, static_cast<const uint16_t*>(raw), packed);
        },
        eight_bits ? std::optional(Element::i8) : std::nullopt);
  }

  Element element() const { return memory_->element; }
  // What the sums of the columns from one on are to be multiplied by; nullptr: by nothing.
  const float* scales(int64_t column) const {
    return memory_->element == Element::i8 ? memory_->data + column : nullptr;
  }
  // The numbers from depth k0 on of the panel that begins at a column.
  const void* at(int64_t column, int64_t k0) const {
    const int64_t nr = isa().nr;
    return reinterpret_cast<const char*>(memory_->data) + numbers_at_ +
           (column * depth_ + k0 * nr) * static_cast<int64_t>(element_bytes(memory_->element));
  }
  // The numbers of a block, `depth` deep, of each tap; taps are `apart` deep apart. To widen them took up to 9 % of a
  // product's time where they come from memory, and takes 2 % so (AVX2, one thread, 256×10240×1280).
  Ahead ahead(int64_t column, int64_t k0, int64_t depth, int64_t taps = 1, int64_t apart = 0) const {
    const int64_t bytes = isa().nr * static_cast<int64_t>(element_bytes(memory_->element));
    return {at(column, k0), depth * bytes, apart * bytes, taps};
  }
  // The same as floats, `depth` deep: where they are, or in `space`.
  const float* block(int64_t column, int64_t k0, int64_t depth, float* space) const {
    const void* from = at(column, k0);
    if (memory_->element == Element::f32) return static_cast<const float*>(from);
    isa().widen(memory_->element, from, space, depth * isa().nr);
    return space;
  }

 private:
  std::shared_ptr<const PackedWeight> memory_;
  int64_t depth_ = 0;
  int64_t numbers_at_ = 0;  // bytes into it: in 8 bits, scales lie before them
};

// Panels that are floats already.
struct FloatPanels {
  const float* data;
  int64_t depth_of_panel;
  const float* block(int64_t column, int64_t k0, int64_t, float*) const {
    return data + column * depth_of_panel + k0 * isa().nr;
  }
  Ahead ahead(int64_t, int64_t, int64_t) const { return {}; }
};

// right: Panels, or what has their block() and ahead(). left: Rows, or likewise.
// finish(row, rows, col, cols, tile, ldc): the finished tile. touched: what it reads or writes there; Rows{}: not asked for.
template <class Right, class Left, class Finish>
void gemm(const GemmTiling& t, const Left& left, const Right& right, const Rows& touched, char* scratch,
          ThreadPool& pool, Finish finish) {
  const Isa& v = isa();
  const int64_t column_tiles = ceil_div(t.n, t.nc);
  float* base = reinterpret_cast<float*>(scratch);
  pool.parallel_for(ceil_div(t.m, t.mc) * column_tiles, [&](int64_t task, int thread) {
    float* packed = base + thread * t.scratch_floats();
    float* tile = packed + lines(t.mc * kRowStride);
    float* widened = tile + lines(t.mc * t.nc);
    const int64_t row = task / column_tiles * t.mc, rows = std::min(t.mc, t.m - row);
    const int64_t col = task % column_tiles * t.nc, cols = std::min(t.nc, t.n - col);
    const Strips strips(rows);
    for (int64_t k0 = 0; k0 < t.k; k0 += t.kc) {
      const int64_t depth = std::min(t.kc, t.k - k0), next_k0 = k0 + depth;
      const int64_t next_depth = std::min(t.kc, t.k - next_k0);
      left.copy(row, rows, k0, depth, packed);
      Ahead rows_ahead =
          next_depth > 0 ? left.ahead(row, rows, next_k0, next_depth) : touched.ahead(row, rows, col, cols);
      const int64_t rows_share = rows_ahead.share(strips.count * ceil_div(cols, v.nr));
      for (int64_t j = 0; j < cols; j += v.nr) {
        const float* panel = right.block(col + j, k0, depth, widened);
        Ahead ahead;
        if (j + v.nr < cols)
          ahead = right.ahead(col + j + v.nr, k0, depth);
        else if (next_depth > 0)
          ahead = right.ahead(col, next_k0, next_depth);
        const int64_t share = ahead.share(strips.count);
        strips.each([&](int64_t i, int m) {
          rows_ahead.next(rows_share);
          ahead.next(share);
          v.tile(m, depth, packed + i * kRowStride, panel, tile + i * t.nc + j, t.nc, k0 > 0);
        });
      }
    }
    finish(row, rows, col, cols, tile, t.nc);
  });
}

}  // namespace latent_edge
