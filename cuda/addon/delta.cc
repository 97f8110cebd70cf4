#include "delta.h"

#include <atomic>

#include "../cpu/gemm.h"
#include "error.h"

namespace latent_edge {

namespace {

constexpr int64_t kMaxRank = 16384;  // as wide as a layer gets; above, a small file could ask for any memory

[[noreturn]] void wrong(const WeightSource& tensor, const std::string& expected) {
  throw BadWeights("adapter tensor \"" + tensor.name + "\": expected " + expected + ", received " +
                   to_string(tensor.shape));
}

// [N, K] or [N, K, 1, 1].
void expect_matrix(const WeightSource& tensor) {
  bool matrix = tensor.shape.size() >= 2;
  for (size_t i = 2; i < tensor.shape.size(); i++) matrix = matrix && tensor.shape[i] == 1;
  if (!matrix) wrong(tensor, "a matrix");
}

int64_t product_of(int64_t a, int64_t b, const WeightSource& tensor) {
  int64_t product;
  if (__builtin_mul_overflow(a, b, &product)) wrong(tensor, "a possible size");
  return product;
}

Buffer floats_of(size_t n, std::atomic<int64_t>* counter) {
  return Buffer(n * sizeof(float), "merging an adapter", counter);
}

float* data(const Buffer& buffer) {
  return reinterpret_cast<float*>(buffer.data());
}

Buffer converted(const WeightSource& tensor, ThreadPool& pool, std::atomic<int64_t>* counter) {
  Buffer values = floats_of(static_cast<size_t>(elements(tensor.shape)), counter);
  tensor.convert(data(values), pool, counter);
  return values;
}

// mid [r, s, taps], down [s, K] → [r, K, taps]
Buffer through_middle(const WeightSource& mid, const Buffer& taps, const Buffer& down, int64_t columns,
                      ThreadPool& pool, std::atomic<int64_t>* counter) {
  const int64_t r = mid.shape[0], s = mid.shape[1], area = mid.shape[2] * mid.shape[3];
  Buffer product = floats_of(static_cast<size_t>(r * columns * area), counter);
  pool.parallel_for(r, [&](int64_t i, int) {
    float* to = data(product) + i * columns * area;
    std::fill(to, to + columns * area, 0.0f);
    for (int64_t j = 0; j < s; j++)
      for (int64_t k = 0; k < columns; k++)
        for (int64_t t = 0; t < area; t++)
          to[k * area + t] += data(taps)[(i * s + j) * area + t] * data(down)[j * columns + k];
  });
  return product;
}

// left [m, k] · right [k, n]
Buffer multiply(const Buffer& left, const Buffer& right, int64_t m, int64_t k, int64_t n, ThreadPool& pool,
                std::atomic<int64_t>* counter) {
  const GemmTiling tiling(m, packed_columns(n), k, pool.threads());
  Buffer panels = floats_of(static_cast<size_t>(packed_columns(n) * k), counter);
  pack_panels(n, k, 1, data(panels), pool, [=, from = data(right)](int64_t column, int64_t row, int64_t) {
    return from[row * n + column];
  });
  Buffer scratch = floats_of(static_cast<size_t>(pool.threads() * tiling.scratch_floats()), counter);
  Buffer product = floats_of(static_cast<size_t>(m * n), counter);
  gemm(tiling, Rows{data(left), k}, FloatPanels{data(panels), k}, Rows{}, scratch.data(), pool,
       [&](int64_t row, int64_t rows, int64_t col, int64_t cols, const float* tile, int64_t ldc) {
         for (int64_t i = 0; i < rows; i++)
           std::memcpy(data(product) + (row + i) * n + col, tile + i * ldc,
                       std::min(cols, n - col) * sizeof(float));
       });
  return product;
}

}  // namespace

std::vector<WeightSource*> DeltaFactor::tensors() {
  std::vector<WeightSource*> list;
  for (auto* tensor : {&whole, &up, &down, &mid})
    if (*tensor) list.push_back(&**tensor);
  return list;
}

Shape DeltaFactor::shape() const {
  if (whole) return whole->shape;
  expect_matrix(*up);
  const int64_t rows = up->shape[0], rank = up->shape[1];
  if (rank < 1 || rank > kMaxRank) wrong(*up, "a rank from 1 to " + std::to_string(kMaxRank));
  const std::string of_rank = std::to_string(rank) + " rows, the rank of \"" + up->name + "\"";
  if (!mid) {
    if (down->shape.size() < 2 || down->shape[0] != rank) wrong(*down, of_rank);
    Shape shape = down->shape;
    shape[0] = rows;
    return shape;
  }
  if (mid->shape.size() != 4 || mid->shape[0] != rank) wrong(*mid, "four dimensions, and " + of_rank);
  expect_matrix(*down);
  if (down->shape[0] != mid->shape[1])
    wrong(*down, std::to_string(mid->shape[1]) + " rows, as \"" + mid->name + "\" has columns");
  return {rows, down->shape[1], mid->shape[2], mid->shape[3]};
}

Buffer DeltaFactor::evaluate(ThreadPool& pool, std::atomic<int64_t>* counter) const {
  if (whole) return converted(*whole, pool, counter);
  const Shape product = shape();
  const int64_t m = product[0], k = up->shape[1], n = elements(product) / m;
  const Buffer left = converted(*up, pool, counter);
  Buffer right = converted(*down, pool, counter);
  if (mid) {
    const Buffer taps = converted(*mid, pool, counter);
    right = through_middle(*mid, taps, right, down->shape[1], pool, counter);
  }
  return multiply(left, right, m, k, n, pool, counter);
}

Shape WeightDelta::shape() const {
  const Shape first = factors[0].shape();
  if (combine == Combine::none) return first;
  const Shape second = factors[1].shape();
  const WeightSource& named = factors[1].whole ? *factors[1].whole : *factors[1].up;
  if (combine == Combine::hadamard) {
    if (without_trailing_ones(first) != without_trailing_ones(second))
      throw BadWeights("adapter tensor \"" + named.name + "\": expected a product of shape " +
                       to_string(first) + ", received " + to_string(second));
    return first;
  }
  const Shape left = without_trailing_ones(first);
  if (left.empty() || left.size() > 2 || second.size() < 2)
    throw BadWeights("adapter tensor \"" + named.name + "\": expected a matrix beside it, received " +
                     to_string(first));
  Shape shape = second;
  shape[0] = product_of(left[0], second[0], named);
  shape[1] = product_of(left.size() == 2 ? left[1] : 1, second[1], named);
  return shape;
}

void WeightDelta::check(const Shape& weight_shape) const {
  const Shape received = shape();
  const bool empty = std::find(received.begin(), received.end(), 0) != received.end();
  if (empty || received.empty() || without_trailing_ones(received) != without_trailing_ones(weight_shape))
    throw BadWeights("adapter of weight \"" + weight + "\": expected shape " + to_string(weight_shape) +
                     ", received " + to_string(received));
}

void WeightDelta::add_to(float* w, ThreadPool& pool, std::atomic<int64_t>* counter) const {
  const Shape whole = shape();
  const int64_t rows = whole[0], columns = elements(whole) / rows;
  const Buffer first = factors[0].evaluate(pool, counter);
  const Buffer second = factors.size() > 1 ? factors[1].evaluate(pool, counter) : Buffer();
  const float *a = data(first), *b = data(second);
  const float s = static_cast<float>(scale);
  // Kronecker: Δ[(i, k), (j, l), tap] = F₁[i, j] · F₂[k, l, tap]
  const Shape inner = factors.back().shape();
  const int64_t inner_rows = inner[0], inner_columns = elements(inner) / inner_rows;
  const int64_t outer_columns = columns / inner_columns;
  std::atomic<bool> finite{true};
  pool.parallel_for(rows, [&](int64_t row, int) {
    float* to = w + row * columns;
    const int64_t at = row * columns;
    if (combine == Combine::none) {
      for (int64_t i = 0; i < columns; i++) to[i] += s * a[at + i];
    } else if (combine == Combine::hadamard) {
      for (int64_t i = 0; i < columns; i++) to[i] += s * (a[at + i] * b[at + i]);
    } else {
      const float* left = a + row / inner_rows * outer_columns;
      const float* right = b + row % inner_rows * inner_columns;
      for (int64_t j = 0; j < outer_columns; j++)
        for (int64_t i = 0; i < inner_columns; i++) to[j * inner_columns + i] += s * (left[j] * right[i]);
    }
    if (!all_finite(to, static_cast<size_t>(columns))) finite = false;
  });
  if (!finite)
    throw BadWeights("adapter of weight \"" + weight + "\" makes it infinite at scale " +
                     std::to_string(scale));
}

}  // namespace latent_edge
