#include "weight_source.h"

#include <algorithm>
#include <cstring>
#include <mutex>

#include "error.h"

namespace latent_edge {

Shape without_trailing_ones(Shape shape) {
  while (shape.size() > 1 && shape.back() == 1) shape.pop_back();
  return shape;
}

size_t WeightSource::bytes() const {
  size_t bytes = element_bytes(element);
  for (int64_t d : shape)
    if (d < 0 || __builtin_mul_overflow(bytes, static_cast<size_t>(d), &bytes))
      throw BadWeights("weight \"" + name + "\": impossible shape " + to_string(shape));
  return bytes;
}

void WeightSource::map(std::map<std::string, std::shared_ptr<MappedFile>>& files) {
  const size_t size = bytes();
  if (file.empty()) return;
  auto& at = files[file];
  if (!at) at = std::make_shared<MappedFile>(file);
  if (offset > at->bytes() || size > at->bytes() - offset)
    throw BadWeights("weight \"" + name + "\": " + std::to_string(size) + " bytes at offset " +
                     std::to_string(offset) + " end outside " + at->path() + " of " +
                     std::to_string(at->bytes()) + " bytes");
  mapped = at;
}

namespace {

// From [K, N] to [N, K].
void transpose(float* matrix, int64_t N, int64_t K, ThreadPool& pool, std::atomic<int64_t>* counter) {
  const size_t bytes = static_cast<size_t>(N * K) * sizeof(float);
  const Buffer copy(bytes, "transposing a weight", counter);
  const float* from = reinterpret_cast<const float*>(copy.data());
  std::memcpy(copy.data(), matrix, bytes);
  pool.parallel_for(N, [&](int64_t n, int) {
    for (int64_t k = 0; k < K; k++) matrix[n * K + k] = from[k * N + n];
  });
}

}  // namespace

// Reads elements [begin, begin + count) in chunks on all threads. read(from, i, n): n elements that lie at `from`, the
// i-th on; returns how many of them come before one that is not finite.
template <class Read>
static void read_finite(const WeightSource& source, size_t begin, size_t count, ThreadPool& pool, Read read) {
  constexpr size_t kChunk = size_t{1} << 18;
  const size_t size = element_bytes(source.element);
  const char* from = source.mapped ? source.mapped->read(source.offset + begin * size, count * size)
                                   : reinterpret_cast<const char*>(source.data.data()) + begin * size;
  std::mutex mutex;
  size_t bad = count;
  pool.parallel_for(static_cast<int64_t>((count + kChunk - 1) / kChunk), [&](int64_t chunk, int) {
    const size_t first = static_cast<size_t>(chunk) * kChunk, n = std::min(kChunk, count - first);
    const size_t finite = read(from + first * size, first, n);
    if (finite == n) return;
    std::lock_guard lock(mutex);
    bad = std::min(bad, first + finite);
  });
  if (source.mapped) {
    source.mapped->forget(source.offset + begin * size, count * size);
    // What was read meanwhile may be of both.
    source.mapped->check_unchanged();
  }
  if (bad < count)
    throw BadWeights("weight \"" + source.name + "\" is NaN or infinite at element " +
                     std::to_string(begin + bad));
}

void WeightSource::convert(float* to, ThreadPool& pool, std::atomic<int64_t>* counter) const {
  read_finite(*this, 0, static_cast<size_t>(elements(shape)), pool,
              [&](const char* from, size_t i, size_t n) { return to_float32(element, from, to + i, n); });
  if (transposed) transpose(to, shape[0], shape[1], pool, counter);
}

void WeightSource::copy(size_t begin, size_t count, char* to, ThreadPool& pool) const {
  read_finite(*this, begin, count, pool, [&](const char* from, size_t i, size_t n) {
    return copy_finite(element, from, to + i * element_bytes(element), n);
  });
}

}  // namespace latent_edge
