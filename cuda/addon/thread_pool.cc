#include "thread_pool.h"

#include <chrono>
#include <stdexcept>
#include <utility>

namespace latent_edge {

namespace {

constexpr uint64_t kOpen = 1u << 15;
constexpr uint64_t kInside = kOpen - 1;
constexpr int kGenerationShift = 16;
// Longer than the gap between two ops of a plan, shorter than anyone would notice on an idle machine.
constexpr auto kSpin = std::chrono::microseconds(50);

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// True as soon as ready() is, false after kSpin.
template <class Ready>
bool spin(Ready ready) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 64; i++) {
      if (ready()) return true;
      relax();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

SpinningThreadPool::SpinningThreadPool(int threads) {
  workers_.reserve(static_cast<size_t>(threads));
  for (int i = 1; i < threads; i++) workers_.emplace_back([this, i] { worker(i); });
}

SpinningThreadPool::~SpinningThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : workers_) thread.join();
}

void SpinningThreadPool::parallel_for(int64_t n, const std::function<void(int64_t, int)>& body) {
  if (n <= 0) return;
  if (running_.exchange(true)) throw std::logic_error("parallel_for was called from within parallel_for");
  struct Done {
    std::atomic<bool>& running;
    ~Done() { running = false; }
  } done{running_};

  if (n == 1 || workers_.empty()) {
    for (int64_t i = 0; i < n; i++) body(i, 0);
    return;
  }
  body_ = &body;
  n_ = n;
  error_ = nullptr;
  next_.store(0, std::memory_order_relaxed);
  const uint64_t generation = (state_.load(std::memory_order_relaxed) >> kGenerationShift) + 1;
  state_.store(generation << kGenerationShift | kOpen);
  if (sleepers_.load() > 0) {
    // Taking the lock closes the gap between a worker's last look at state_ and its wait.
    { std::lock_guard lock(mutex_); }
    wake_.notify_all();
  }
  take(0);
  state_.fetch_and(~kOpen);
  while (!spin([this] { return (state_.load(std::memory_order_acquire) & kInside) == 0; }))
    std::this_thread::yield();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void SpinningThreadPool::take(int thread) {
  try {
    for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < n_;) (*body_)(i, thread);
  } catch (...) {
    next_.store(n_, std::memory_order_relaxed);
    std::lock_guard lock(mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

bool SpinningThreadPool::enter(uint64_t& seen) {
  uint64_t state = state_.load(std::memory_order_acquire);
  while ((state & kOpen) && state >> kGenerationShift != seen) {
    if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) {
      seen = state >> kGenerationShift;
      return true;
    }
  }
  return false;
}

void SpinningThreadPool::worker(int thread) {
  uint64_t seen = 0;
  while (!stop_.load(std::memory_order_relaxed)) {
    if (spin([&] { return enter(seen); })) {
      take(thread);
      state_.fetch_sub(1, std::memory_order_release);
      continue;
    }
    std::unique_lock lock(mutex_);
    sleepers_++;
    wake_.wait(lock, [&] {
      const uint64_t state = state_.load();
      return stop_.load() || ((state & kOpen) && state >> kGenerationShift != seen);
    });
    sleepers_--;
  }
}

}  // namespace latent_edge
