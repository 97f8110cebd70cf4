// A checkpoint's weights on their way to the device.
#pragma once

#include "../addon/checkpoint.h"
#include "heap.h"

namespace latent_edge::gpu {

// Sends bytes to the device in order with the work there, through two pieces of the host's memory in turn: while one is
// copied the other is filled.
class Uploader {
 public:
  explicit Uploader(std::shared_ptr<Heap> heap) : heap_(std::move(heap)) {}
  ~Uploader();

  // fill(begin, bytes, to) writes bytes [begin, begin + bytes) of what goes to `to` on the device; pieces begin at
  // multiples of 4 bytes.
  void send(void* to, size_t bytes, const std::function<void(size_t begin, size_t bytes, char* to)>& fill);

 private:
  static constexpr size_t kPiece = size_t{8} << 20;

  const std::shared_ptr<Heap> heap_;
  Memory pieces_[Runtime::kMarks];
  bool busy_[Runtime::kMarks] = {};
  int next_ = 0;
};

// Weights of one checkpoint, for one plan to be bound: they go up as the files have them and are packed there.
class CheckpointWeights final : public WeightStore {
 public:
  CheckpointWeights(Checkpoint& checkpoint, std::shared_ptr<Heap> heap, std::shared_ptr<Account> account,
                    ThreadPool& pool)
      : checkpoint_(checkpoint),
        heap_(heap),
        account_(std::move(account)),
        pool_(pool),
        uploader_(std::move(heap)) {}

  std::shared_ptr<const void> get(const WeightRef& ref, const std::string& form, size_t bytes,
                                  const Pack& pack) override;
  std::shared_ptr<const float> constant(const std::vector<float>& values) override;

 private:
  Scalar upload(const RawWeight& raw, size_t count);

  Checkpoint& checkpoint_;
  const std::shared_ptr<Heap> heap_;
  const std::shared_ptr<Account> account_;
  ThreadPool& pool_;
  Uploader uploader_;
  Memory raw_;  // the weight that is being packed
};

}  // namespace latent_edge::gpu
