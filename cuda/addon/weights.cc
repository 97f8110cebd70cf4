#include "weights.h"

#include <algorithm>
#include <cstring>
#include <mutex>

namespace latent_edge {

namespace {

// Checkpoints write a 1×1 convolution's weight as [N, K, 1, 1], a linear layer's as [N, K].
Shape without_trailing_ones(Shape shape) {
  while (shape.size() > 1 && shape.back() == 1) shape.pop_back();
  return shape;
}

std::string quoted(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "\"" : " + \"") + name + "\"";
  return text;
}

size_t source_bytes(const WeightSource& s) {
  size_t bytes = element_bytes(s.element);
  for (int64_t d : s.shape)
    if (d < 0 || __builtin_mul_overflow(bytes, static_cast<size_t>(d), &bytes))
      throw std::runtime_error("weight \"" + s.name + "\": impossible shape " + to_string(s.shape));
  return bytes;
}

// Bytes that are not yet a weight anyone holds.
struct Packing {
  std::shared_ptr<Account> account;
  std::unique_ptr<PackedWeight> weight = std::make_unique<PackedWeight>();

  Packing(std::shared_ptr<Account> to, size_t floats) : account(std::move(to)) {
    weight->data = static_cast<float*>(allocate_aligned(floats * sizeof(float), "a packed weight"));
    weight->floats = floats;
  }

  std::shared_ptr<const PackedWeight> finish() {
    const int64_t bytes = static_cast<int64_t>(weight->floats * sizeof(float));
    account->weights += bytes;
    return {weight.release(), [account = account, bytes](const PackedWeight* done) {
              account->weights -= bytes;
              delete done;
            }};
  }
};

}  // namespace

void Weights::load(std::vector<WeightSource> sources) {
  std::map<std::string, std::shared_ptr<MappedFile>> files;
  for (WeightSource& source : sources) {
    const size_t bytes = source_bytes(source);
    std::shared_ptr<MappedFile> file;
    if (source.file.empty()) {
      in_memory_ += static_cast<int64_t>(bytes);
      account_->weights += static_cast<int64_t>(bytes);
    } else {
      auto& mapped = files[source.file];
      if (!mapped) mapped = std::make_shared<MappedFile>(source.file);
      file = mapped;
      if (source.offset > file->bytes() || bytes > file->bytes() - source.offset)
        throw std::runtime_error("weight \"" + source.name + "\": " + std::to_string(bytes) +
                                 " bytes at offset " + std::to_string(source.offset) + " end outside " +
                                 file->path() + " of " + std::to_string(file->bytes()) + " bytes");
    }
    const std::string name = source.name;
    if (!entries_.try_emplace(name, Entry{std::move(source), std::move(file)}).second)
      throw std::runtime_error("weight \"" + name + "\" occurs twice");
  }
}

void Weights::release() {
  packed_.clear();
  entries_.clear();
  staging_.reset();
  account_->weights -= in_memory_;
  in_memory_ = 0;
}

std::vector<const Weights::Entry*> Weights::find(const WeightRef& ref) const {
  const std::string expected = "expected weight " + quoted(ref.names) + " of shape " + to_string(ref.shape);
  std::vector<const Entry*> found;
  Shape whole;
  for (const std::string& name : ref.names) {
    const auto it = entries_.find(name);
    if (it == entries_.end())
      throw std::runtime_error(expected + ", the checkpoint has " +
                               (ref.names.size() == 1 ? "none of that name" : "no \"" + name + "\""));
    Shape shape = without_trailing_ones(it->second.source.shape);
    if (shape.empty()) shape = {1};
    if (whole.empty()) {
      whole = shape;
    } else {
      if (!std::equal(shape.begin() + 1, shape.end(), whole.begin() + 1, whole.end()))
        throw std::runtime_error(expected + ", the checkpoint has \"" + name + "\" of shape " +
                                 to_string(it->second.source.shape) + " beside \"" + ref.names[0] +
                                 "\" of shape " + to_string(found[0]->source.shape));
      whole[0] += shape[0];
    }
    found.push_back(&it->second);
  }
  if (found.empty())
    throw std::runtime_error("expected at least one name for a weight of shape " + to_string(ref.shape));
  if (whole != without_trailing_ones(ref.shape))
    throw std::runtime_error(expected + ", the checkpoint has " +
                             to_string(found.size() == 1 ? found[0]->source.shape : whole));
  return found;
}

std::shared_ptr<const PackedWeight> Weights::get(const WeightRef& ref, const std::string& form, size_t floats,
                                                 const std::function<void(const float*, float*)>& fill) {
  const std::vector<const Entry*> entries = find(ref);
  std::string key = form;
  for (const std::string& name : ref.names) key += '\n' + name;
  auto& cached = packed_[key];
  if (!cached) {
    Packing packing(account_, floats);
    touch(packing.weight->data, floats);
    fill(joined(entries, static_cast<size_t>(elements(ref.shape))), packing.weight->data);
    cached = packing.finish();
  }
  return cached;
}

// Has the system hand out a large weight's pages on all threads: clearing them takes longer than filling
// them.
void Weights::touch(float* data, size_t floats) {
  constexpr size_t kPage = 4096 / sizeof(float), kChunk = size_t{1} << 20;
  if (floats < kChunk) return;
  pool_.parallel_for(static_cast<int64_t>((floats + kChunk - 1) / kChunk), [&](int64_t chunk, int) {
    const size_t begin = static_cast<size_t>(chunk) * kChunk, end = std::min(floats, begin + kChunk);
    for (size_t i = begin; i < end; i += kPage) data[i] = 0;
  });
}

const float* Weights::joined(const std::vector<const Entry*>& entries, size_t floats) {
  if (staging_.bytes() < floats * sizeof(float)) {
    staging_.reset();
    staging_ = Buffer(floats * sizeof(float), "converting a weight", &account_->weights);
  }
  float* to = reinterpret_cast<float*>(staging_.data());
  for (const Entry* entry : entries) {
    convert(*entry, to);
    to += elements(entry->source.shape);
  }
  return reinterpret_cast<const float*>(staging_.data());
}

void Weights::convert(const Entry& entry, float* to) {
  constexpr size_t kChunk = size_t{1} << 18;
  const WeightSource& source = entry.source;
  const size_t n = static_cast<size_t>(elements(source.shape)), size = element_bytes(source.element);
  const char* from = entry.file ? entry.file->read(source.offset, n * size)
                                : reinterpret_cast<const char*>(source.data.data());
  std::mutex mutex;
  size_t bad = n;
  pool_.parallel_for(static_cast<int64_t>((n + kChunk - 1) / kChunk), [&](int64_t chunk, int) {
    const size_t begin = static_cast<size_t>(chunk) * kChunk, count = std::min(kChunk, n - begin);
    const size_t finite = to_float32(source.element, from + begin * size, to + begin, count);
    if (finite == count) return;
    std::lock_guard lock(mutex);
    bad = std::min(bad, begin + finite);
  });
  if (entry.file) entry.file->forget(source.offset, n * size);
  if (bad < n)
    throw std::runtime_error("weight \"" + source.name + "\" is NaN or infinite at element " +
                             std::to_string(bad));
  if (source.transposed) transpose(source, to);
}

// From [K, N], as its file has it, to [N, K].
void Weights::transpose(const WeightSource& source, float* matrix) {
  const int64_t N = source.shape[0], K = source.shape[1];
  const size_t bytes = static_cast<size_t>(N * K) * sizeof(float);
  const Buffer copy(bytes, "transposing a weight", &account_->weights);
  float* from = reinterpret_cast<float*>(copy.data());
  std::memcpy(from, matrix, bytes);
  pool_.parallel_for(N, [&](int64_t n, int) {
    for (int64_t k = 0; k < K; k++) matrix[n * K + k] = from[k * N + n];
  });
}

}  // namespace latent_edge
