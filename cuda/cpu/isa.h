// The vector loops of the CPU backend, compiled once for each instruction set and chosen at run time.
#pragma once

#include <cstdint>

#include "../addon/convert.h"
#include "../ops/check.h"

namespace latent_edge {

// Rows of the left operand lie this many floats apart in a packed block: a constant, so that the micro-kernel
// addresses all of its rows from one register; an odd number of cache lines, so that they fall on different sets. Where
// blocks are less deep, the rest is memory that nothing touches.
constexpr int64_t kRowStride = 336;

// What happens to a finished tile on its way out: out = residual + act(scale·tile + bias + shift).
struct Epilogue {
  const float* scale = nullptr;     // [cols], of whole panels: a weight's of 8 bits
  const float* bias = nullptr;      // [cols], in the order of the packed columns
  const float* shift = nullptr;     // [cols], the same for every row: a time embedding
  const float* residual = nullptr;  // [rows, out cols], rows `ld_out` apart
  Activation activation = Activation::none;
};

// Winograd's F(m×m, 3×3), arXiv:1509.09308: m×m outputs of a patch of d×d pixels by p×p points.
struct WinogradLoops {
  int outputs, inputs, points;  // m, d, p
  const int* value_at;  // [p]: which of the d numbers that a line of pixels becomes is multiplied at a point
  // A patch, `channels` of each pixel, to d×d numbers: number i to to + places[i].
  void (*input)(const float* const* pixels, int64_t channels, float* to, const int64_t* places);
  // Nine taps, `step` numbers apart, of `depth` channels of a panel to the points, each [depth][nr], `to_step` apart.
  void (*weights)(Element from, const void* taps, int64_t step, int64_t depth, float* to, int64_t to_step);
  // The points' sums of a panel's nr columns, `step` apart, to the outputs, `to_step` apart.
  void (*output)(const float* sums, int64_t step, float* to, int64_t to_step);
};

struct Isa {
  const char* name;
  int lanes;  // floats in a vector
  int mr;     // rows of the micro-kernel's tile
  int nr;     // columns: two vectors
  int depth;  // of a block at most: so deep a panel of the right operand stays in L1; a multiple of 32

  // c[i][j] (+)= Σ_k a[i·kRowStride + k] · b[k·nr + j] for i < m ≤ mr, j < nr, k < depth.
  void (*tile)(int m, int64_t depth, const float* a, const float* b, float* c, int64_t ldc, bool accumulate);
  // The same with ldc = nr, then 2ˣ of each, |x| ≤ 125, and total[j] += their sum over i.
  void (*power_tile)(int m, int64_t depth, const float* a, const float* b, float* c, bool accumulate,
                     float* total);
  // n numbers of a weight as floats; n a multiple of lanes.
  void (*widen)(Element element, const void* from, float* to, int64_t n);
  // The same of two blocks: a + sign·b; sign ±1, or 0 for a alone.
  void (*widen_sum)(Element element, const void* a, const void* b, int sign, float* to, int64_t n);
  // Strassen's seven products (strassen.h), `step` apart, to the four quarters, in the place of the first four.
  void (*strassen_sums)(float* products, int64_t step, int64_t n);
  WinogradLoops winograd;  // m = 4, d = p = 6
  WinogradLoops doubled;   // m = 4, d = 4, p = 5: each pixel stands for 2×2
  // rows × cols of c to out. With geglu, each panel of nr columns is nr/2 values, then their nr/2 gates;
  // `cols` counts both, and out has cols/2.
  void (*finish)(const float* c, int64_t ldc, int64_t rows, int64_t cols, float* out, int64_t ld_out,
                 const Epilogue& epilogue);
  // A block of an online softmax (arXiv:1805.02867) down nr columns: scores s [rows][nr] become 2^(s − maximum), `total`
  // their sums, with those before unless this is the first block, and `out` [size][nr], what was summed up of values
  // before, is scaled as the maxima have risen.
  void (*softmax_columns)(float* s, int64_t rows, float* maximum, float* total, float* out, int64_t size,
                          bool first);
  // sum[c] += Σ_p (x[p][c] − origin[c]), square[c] += Σ_p (x[p][c] − origin[c])²; rows of x are ld apart.
  void (*channel_sums)(const float* x, int64_t ld, int64_t positions, int64_t channels, const float* origin,
                       float* sum, float* square);
  // y[p][c] = silu?((x[p][c] − mean[c])·scale[c] + shift[c])
  void (*normalize)(const float* x, int64_t ld_x, float* y, int64_t ld_y, int64_t positions, int64_t channels,
                    const float* mean, const float* scale, const float* shift, bool silu);
  // y = (x − μ)/sqrt(σ² + eps)·weight + bias over one row.
  void (*layer_norm_row)(const float* x, float* y, int64_t channels, const float* weight, const float* bias,
                         float eps);
  void (*activate)(const float* x, float* y, int64_t n, Activation activation);
};

extern const Isa kIsaBaseline;
#if defined(__x86_64__)
extern const Isa kIsaAvx2;
extern const Isa kIsaAvx512;
#endif

// The best one this machine runs; LATENT_EDGE_ISA asks for a lesser one by name (tests). Throws std::runtime_error
// where it names one that this machine has not.
const Isa& isa();

}  // namespace latent_edge
