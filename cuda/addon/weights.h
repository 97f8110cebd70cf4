// A checkpoint's tensors for as long as their owner wants them; plans, and adapters on top of them, keep
// theirs.
#pragma once

#include <memory>

#include "checkpoint.h"
#include "resource.h"

namespace latent_edge {

// Used from the device's thread alone, but for construction and destruction.
class Weights final : public Resource {
 public:
  explicit Weights(std::shared_ptr<Checkpoint> checkpoint) : checkpoint_(std::move(checkpoint)) {}

  // Throws std::runtime_error once they have been released.
  const std::shared_ptr<Checkpoint>& checkpoint() const {
    if (!checkpoint_) throw std::runtime_error("The weights have been disposed");
    return checkpoint_;
  }

  void release() override { checkpoint_.reset(); }

 private:
  std::shared_ptr<Checkpoint> checkpoint_;
};

}  // namespace latent_edge
