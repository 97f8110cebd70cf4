#include "weights.h"

#include <algorithm>
#include <cstring>

namespace latent_edge::gpu {

namespace {

// Device memory whose account lives as long.
std::pair<std::shared_ptr<const void>, char*> held(const std::shared_ptr<Heap>& heap,
                                                   const std::shared_ptr<Account>& account, size_t bytes,
                                                   const std::string& purpose) {
  struct Held {
    std::shared_ptr<Account> account;
    Memory memory;
  };
  auto held = std::make_shared<Held>(account, Memory(heap, bytes, purpose, &account->weights));
  char* const data = held->memory.data();
  return {std::shared_ptr<const void>(std::move(held), data), data};
}

}  // namespace

// What is on its way still reads the pieces.
Uploader::~Uploader() {
  for (int i = 0; i < Runtime::kMarks; i++) {
    try {
      if (busy_[i]) heap_->runtime().await(i);
    } catch (const std::exception&) {
      // The device's error is told to whoever waits for the plan.
    }
  }
}

void Uploader::send(void* to, size_t bytes,
                    const std::function<void(size_t begin, size_t bytes, char* to)>& fill) {
  Runtime& runtime = heap_->runtime();
  for (size_t begin = 0; begin < bytes; begin += kPiece) {
    const size_t count = std::min(kPiece, bytes - begin);
    Memory& piece = pieces_[next_];
    if (std::exchange(busy_[next_], false)) runtime.await(next_);
    if (piece.bytes() < count) piece = Memory::on_host(heap_, count < kPiece / 8 ? kPiece / 8 : kPiece);
    fill(begin, count, piece.data());
    runtime.copy(static_cast<char*>(to) + begin, piece.data(), count);
    runtime.mark(next_);
    busy_[next_] = true;
    next_ = (next_ + 1) % Runtime::kMarks;
  }
}

std::shared_ptr<const void> CheckpointWeights::get(const WeightRef& ref, const std::string& form,
                                                   size_t bytes, const Pack& pack) {
  return checkpoint_.share(ref, form, [&](Checkpoint& holder, const WeightRef& there) {
    auto [packed, data] = held(heap_, account_, bytes, "a packed weight");
    const Scalar type = upload(holder.raw(there), static_cast<size_t>(elements(there.shape)));
    pack(heap_->runtime().stream(), raw_.data(), type, data);
    return packed;
  });
}

std::shared_ptr<const float> CheckpointWeights::constant(const std::vector<float>& values) {
  const size_t bytes = values.size() * sizeof(float);
  auto [memory, data] = held(heap_, account_, bytes, "an op's numbers");
  uploader_.send(data, bytes, [&](size_t begin, size_t count, char* to) {
    std::memcpy(to, reinterpret_cast<const char*>(values.data()) + begin, count);
  });
  return {std::move(memory), reinterpret_cast<const float*>(data)};
}

// To raw_. What packed the weight before it comes earlier in the device's order.
Scalar CheckpointWeights::upload(const RawWeight& raw, size_t count) {
  const size_t size = element_bytes(raw.element);
  if (raw_.bytes() < count * size) {
    raw_.reset();
    raw_ = Memory(heap_, count * size, "a weight as it is in its file", &account_->weights);
  }
  char* to = raw_.data();
  if (raw.values) {
    const char* from = reinterpret_cast<const char*>(raw.values);
    uploader_.send(to, count * size,
                   [=](size_t begin, size_t bytes, char* piece) { std::memcpy(piece, from + begin, bytes); });
  }
  for (const WeightSource* part : raw.parts) {
    const size_t bytes = static_cast<size_t>(elements(part->shape)) * size;
    uploader_.send(to, bytes, [&](size_t begin, size_t bytes, char* piece) {
      part->copy(begin / size, bytes / size, piece, pool_);
    });
    to += bytes;
  }
  return scalar_of(raw.element);
}

}  // namespace latent_edge::gpu
