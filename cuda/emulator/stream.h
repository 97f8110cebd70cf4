// Work in order, done when it is waited for: a host that reads too early reads what was there before.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "grid.h"

namespace latent_edge::emulator {

using Work = std::vector<std::function<void()>>;

class Stream {
 public:
  // Of the device.
  Limits limits;

  void enqueue(std::function<void()> work) { (captured_ ? *captured_ : pending_).push_back(std::move(work)); }

  // What is enqueued from here on goes to `work` instead of being done.
  void capture(Work* work) { captured_ = work; }

  // Throws what the work throws; the rest is forgotten.
  void synchronize() {
    const Work work = std::exchange(pending_, {});
    for (const auto& item : work) item();
  }

 private:
  Work pending_;
  Work* captured_ = nullptr;
};

}  // namespace latent_edge::emulator
