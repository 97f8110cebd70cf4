// gemm.h's product with seven products of halves for eight: one step of V. Strassen, "Gaussian elimination is not optimal",
// 1969, doi:10.1007/BF02165411.
//
// An image's rows, the columns and the depth are each cut in two. A task makes the same part of all four quarters of the
// output, one product after another, and adds up operands as it packs and widens them. Which rows and columns belong
// together depends on an image's sizes alone, so that results are the same in any batch and on any number of threads.
// An output's rounding is 6.5e-7, relative to those it is mixed with, for 3.3e-7 of the plain product (1280 deep, AVX2).
#pragma once

#include "gemm.h"

namespace latent_edge {

// Quarter `first` of an operand, or with a sign first + sign·second: 0 is (1,1), 1 (1,2), 2 (2,1), 3 (2,2).
struct StrassenOperand {
  int first, second, sign;
};
struct StrassenProduct {
  StrassenOperand left, right;
};
// The paper's I … VII.
inline constexpr StrassenProduct kStrassen[7] = {
    {{0, 3, 1}, {0, 3, 1}},   // (A11 + A22)·(B11 + B22)
    {{2, 3, 1}, {0, 0, 0}},   // (A21 + A22)·B11
    {{0, 0, 0}, {1, 3, -1}},  // A11·(B12 − B22)
    {{3, 3, 0}, {2, 0, -1}},  // A22·(B21 − B11)
    {{0, 1, 1}, {3, 3, 0}},   // (A11 + A12)·B22
    {{2, 0, -1}, {0, 1, 1}},  // (A21 − A11)·(B11 + B12)
    {{1, 3, -1}, {2, 3, 1}},  // (A12 − A22)·(B21 + B22)
};

struct StrassenTiling {
  int64_t images, m, n, k;  // a half's rows, columns, depth
  int64_t mc, nc, kc;       // of a task in each half

  // Where rows halve, columns into whole panels and the depth into whole vectors of up to 16 lanes, and where it is faster:
  // not with weights of 320×320 (AVX2, two threads). Not by the number of threads, on which no result depends.
  static bool fits(int64_t rows, int64_t n, int64_t k) {
    return rows % 2 == 0 && rows >= 256 && n % (2 * isa().nr) == 0 && k % 32 == 0 && n * k >= 300000;
  }
  StrassenTiling(int64_t images, int64_t rows, int64_t columns, int64_t depth, int threads)
      : images(images), m(rows / 2), n(columns / 2), k(depth / 2) {
    const int64_t mr = isa().mr, nr = isa().nr, most = isa().depth;
    kc = round_up(ceil_div(k, ceil_div(k, most)), 16);  // whole vectors
    nc = round_up(ceil_div(n, ceil_div(n, 160)), nr);
    const auto rows_of = [&](int64_t blocks) { return round_up(ceil_div(m, blocks), mr); };
    const auto tasks = [&] { return images * ceil_div(m, mc) * ceil_div(n, nc); };
    mc = rows_of(ceil_div(m, GemmTiling::kBlock / most / mr * mr));
    while (threads > 1 && tasks() < 2 * threads && nc > 2 * nr) nc = round_up(nc / 2, nr);
    while (threads > 1 && tasks() < 2 * threads && mc > 4 * mr) mc = round_up(mc / 2, mr);
    // As many for each thread, if somewhat smaller blocks will do it.
    const int64_t largest = mc, blocks = ceil_div(m, mc);
    for (int64_t b = blocks; b <= blocks + blocks / 2 && tasks() % threads != 0; b++) mc = rows_of(b);
    if (tasks() % threads != 0) mc = largest;
  }
  int64_t product_floats() const { return lines(mc * nc); }
  // Of one thread: the left operand's block, the products, a block of a panel.
  int64_t scratch_floats() const {
    return lines(mc * kRowStride) + 7 * product_floats() + lines(isa().depth * isa().nr);
  }
};

// finish(row, rows, col, cols, tile, ldc): a finished tile.
template <class Finish>
void strassen(const StrassenTiling& t, const Rows& left, const Panels& right, char* scratch, ThreadPool& pool,
              Finish finish) {
  const Isa& v = isa();
  const int64_t row_tiles = ceil_div(t.m, t.mc), column_tiles = ceil_div(t.n, t.nc);
  const int64_t depths = ceil_div(t.k, t.kc), turns = 7 * depths, step = t.product_floats();
  float* base = reinterpret_cast<float*>(scratch);
  pool.parallel_for(t.images * row_tiles * column_tiles, [&](int64_t task, int thread) {
    float* packed = base + thread * t.scratch_floats();
    float* products = packed + lines(t.mc * kRowStride);
    float* widened = products + 7 * step;
    const int64_t in_half = task / column_tiles % row_tiles * t.mc, rows = std::min(t.mc, t.m - in_half);
    const int64_t row = task / (column_tiles * row_tiles) * 2 * t.m + in_half;
    const int64_t col = task % column_tiles * t.nc, cols = std::min(t.nc, t.n - col);
    // Of a quarter: numbers of its row i from k on, of its panel at column j likewise.
    const auto left_at = [&](int quarter, int64_t i, int64_t k) {
      return left.data + (row + quarter / 2 * t.m + i) * left.stride + quarter % 2 * t.k + k;
    };
    const auto right_at = [&](int quarter, int64_t j, int64_t k) {
      return static_cast<const char*>(right.at(col + quarter % 2 * t.n + j, quarter / 2 * t.k + k));
    };
    const Strips strips(rows);
    for (int64_t turn = 0; turn < turns; turn++) {
      const auto& [of_left, of_right] = kStrassen[turn / depths];
      const int64_t k0 = turn % depths * t.kc, depth = std::min(t.kc, t.k - k0);
      for (int64_t i = 0; i < rows; i++)
        v.widen_sum(Element::f32, left_at(of_left.first, i, k0), left_at(of_left.second, i, k0), of_left.sign,
                    packed + i * kRowStride, depth);
      for (int64_t j = 0; j < cols; j += v.nr) {
        const char *first = right_at(of_right.first, j, k0), *second = right_at(of_right.second, j, k0);
        v.widen_sum(right.element(), first, second, of_right.sign, widened, depth * v.nr);
        // The next panel here, or the first of what comes next.
        Ahead ahead;
        const bool here = j + v.nr < cols;
        if (here || turn + 1 < turns) {
          const StrassenOperand& next = here ? of_right : kStrassen[(turn + 1) / depths].right;
          const int64_t next_j = here ? j + v.nr : 0, next_k0 = here ? k0 : (turn + 1) % depths * t.kc;
          const char* from = right_at(next.first, next_j, next_k0);
          ahead = {
              from,
              std::min(t.kc, t.k - next_k0) * v.nr * static_cast<int64_t>(element_bytes(right.element())),
              right_at(next.second, next_j, next_k0) - from, next.sign == 0 ? 1 : 2};
        }
        const int64_t share = ahead.share(strips.count);
        strips.each([&](int64_t i, int m) {
          ahead.next(share);
          v.tile(m, depth, packed + i * kRowStride, widened, products + turn / depths * step + i * t.nc + j,
                 t.nc, k0 > 0);
        });
      }
    }
    v.strassen_sums(products, step, rows * t.nc);
    for (int quarter = 0; quarter < 4; quarter++)
      finish(row + quarter / 2 * t.m, rows, col + quarter % 2 * t.n, cols, products + quarter * step, t.nc);
  });
}

}  // namespace latent_edge
