// The CPU backend's threads: they wait by spinning for the next op of a plan, and sleep between runs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "../cpu/kernel.h"

namespace latent_edge {

// Indices are handed out one at a time, so uneven work balances itself. The calling thread takes part as
// thread 0. The first exception of a body stops the handing out and is thrown again by parallel_for.
class SpinningThreadPool final : public ThreadPool {
 public:
  explicit SpinningThreadPool(int threads);
  ~SpinningThreadPool() override;

  int threads() const override { return static_cast<int>(workers_.size()) + 1; }
  void parallel_for(int64_t n, const std::function<void(int64_t, int)>& body) override;

 private:
  void worker(int thread);
  bool enter(uint64_t& seen);
  void take(int thread);

  std::vector<std::thread> workers_;

  // The loop in progress. Written only while no worker is inside.
  const std::function<void(int64_t, int)>* body_ = nullptr;
  int64_t n_ = 0;
  alignas(64) std::atomic<int64_t> next_{0};
  // generation << 16 | open << 15 | workers inside. A worker that wakes late finds the loop closed and is not
  // waited for.
  alignas(64) std::atomic<uint64_t> state_{0};

  std::atomic<bool> running_{false}, stop_{false};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::exception_ptr error_;
};

}  // namespace latent_edge
