// The micro-kernel of matrix products: part of isa_kernels.inc.h.

template <int M>
void tile_of(int64_t depth, const float* a, const float* b, float* c, int64_t ldc, bool accumulate) {
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
#pragma GCC unroll 16
  for (int i = 0; i < M; i++)
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) {
      float* p = c + i * ldc + v * kLanes;
      store(p, accumulate ? load(p) + acc[i][v] : acc[i][v]);
    }
}

typedef void (*Tile)(int64_t, const float*, const float*, float*, int64_t, bool);

void tile(int m, int64_t depth, const float* a, const float* b, float* c, int64_t ldc, bool accumulate) {
  static const Tile by_rows[] = {
    tile_of<1>,
    tile_of<2>,
    tile_of<3>,
    tile_of<4>,
    tile_of<5>,
    tile_of<6>,
#if LE_ROWS > 6
    tile_of<7>,
    tile_of<8>,
    tile_of<9>,
    tile_of<10>,
    tile_of<11>,
    tile_of<12>,
#endif
#if LE_ROWS > 12
    tile_of<13>,
    tile_of<14>,
#endif
  };
  by_rows[m - 1](depth, a, b, c, ldc, accumulate);
}
