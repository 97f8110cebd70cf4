// The micro-kernel of matrix products: part of isa_kernels.inc.h.

// A tile in registers, with what is in memory where `accumulate`; then body(row, first column, a vector of it).
template <int M, class Body>
inline __attribute__((always_inline)) void with_sums(int64_t depth, const float* a, const float* b,
                                                     const float* c, int64_t ldc, bool accumulate,
                                                     Body body) {
  constexpr int V = kColumns / kLanes;
  Vec acc[M][V];
#pragma GCC unroll 16
  for (int i = 0; i < M; i++)
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) acc[i][v] = Vec{};
#pragma GCC unroll 2
  for (int64_t k = 0; k < depth; k++) {
    Vec right[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) right[v] = load(b + k * kColumns + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      const Vec left = all(a[i * kRowStride + k]);
#pragma GCC unroll 2
      for (int v = 0; v < V; v++) acc[i][v] += left * right[v];
    }
  }
  if (accumulate)
#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
#pragma GCC unroll 2
      for (int v = 0; v < V; v++) acc[i][v] += load(c + i * ldc + v * kLanes);
#pragma GCC unroll 16
  for (int i = 0; i < M; i++)
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) body(i, v * kLanes, acc[i][v]);
}

template <int M>
void tile_of(int64_t depth, const float* a, const float* b, float* c, int64_t ldc, bool accumulate) {
  with_sums<M>(
      depth, a, b, c, ldc, accumulate, [=](int i, int v, Vec sums) __attribute__((always_inline)) {
        store(c + i * ldc + v, sums);
      });
}

template <int M>
void power_tile_of(int64_t depth, const float* a, const float* b, float* c, bool accumulate, float* total) {
  Vec totals[2] = {};
  with_sums<M>(
      depth, a, b, c, kColumns, accumulate, [&](int i, int v, Vec sums) __attribute__((always_inline)) {
        const Vec power = exp2_normal(sums);
        store(c + i * kColumns + v, power);
        totals[v / kLanes] += power;
      });
  store(total, load(total) + totals[0]), store(total + kLanes, load(total + kLanes) + totals[1]);
}

struct Tiles {
  void (*sums[kRows + 1])(int64_t, const float*, const float*, float*, int64_t, bool);
  void (*powers[kRows + 1])(int64_t, const float*, const float*, float*, bool, float*);
};
template <int M>
constexpr Tiles tiles_up_to() {
  Tiles tiles = {};
  if constexpr (M > 1) tiles = tiles_up_to<M - 1>();
  tiles.sums[M] = tile_of<M>;
  tiles.powers[M] = power_tile_of<M>;
  return tiles;
}
constexpr Tiles kTiles = tiles_up_to<kRows>();  // by their rows

void tile(int m, int64_t depth, const float* a, const float* b, float* c, int64_t ldc, bool accumulate) {
  kTiles.sums[m](depth, a, b, c, ldc, accumulate);
}
void power_tile(int m, int64_t depth, const float* a, const float* b, float* c, bool accumulate,
                float* total) {
  kTiles.powers[m](depth, a, b, c, accumulate, total);
}
