// Bytes a device holds, by what they are for. Written by any thread, read by the JS thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace latent_edge {

struct Account {
  std::atomic<int64_t> weights{0}, arenas{0}, tensors{0}, scratch{0};

  int64_t total() const { return weights + arenas + tensors + scratch; }
};

}  // namespace latent_edge
