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

void WeightSource::convert(float* to, ThreadPool& pool, std::atomic<int64_t>* counter) const {
  constexpr size_t kChunk = size_t{1} << 18;
  const size_t n = static_cast<size_t>(elements(shape)), size = element_bytes(element);
  const char* from = mapped ? mapped->read(offset, n * size) : reinterpret_cast<const char*>(data.data());
  std::mutex mutex;
  size_t bad = n;
  pool.parallel_for(static_cast<int64_t>((n + kChunk - 1) / kChunk), [&](int64_t chunk, int) {
    const size_t begin = static_cast<size_t>(chunk) * kChunk, count = std::min(kChunk, n - begin);
    const size_t finite = to_float32(element, from + begin * size, to + begin, count);
    if (finite == count) return;
    std::lock_guard lock(mutex);
    bad = std::min(bad, begin + finite);
  });
  if (mapped) mapped->forget(offset, n * size);
  if (bad < n)
    throw BadWeights("weight \"" + name + "\" is NaN or infinite at element " + std::to_string(bad));
  if (transposed) transpose(to, shape[0], shape[1], pool, counter);
}

}  // namespace latent_edge
