#include "grid.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

#include "memory.h"

namespace latent_edge::emulator {

Thread current;
thread_local uint64_t elapsed = 0;

namespace {

enum class State { ready, at_warp, at_block, at_signal, done };

struct Lane {
  Fiber fiber;
  State state = State::done;
  void* operand = nullptr;
  void (*combine)(void* const*) = nullptr;
  bool (*signalled)(const void*) = nullptr;
  const void* signal = nullptr;
  std::vector<std::vector<PendingCopy>> copies;
  std::vector<std::vector<PendingProduct>> products;
};

Lane* running = nullptr;
std::string faulted;  // what a thread ended the launch with

void wait(State state) {
  Lane* lane = running;
  lane->state = state;
  lane->fiber.suspend();
}

[[noreturn]] void fail(const std::string& what) {
  const auto at = [](Dim3 d) {
    return std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z);
  };
  throw std::runtime_error("emulated kernel, block (" + at(current.block) + "): " + what);
}

class Block {
 public:
  Block(unsigned threads, const std::function<void()>& kernel) : kernel_(kernel), count_(threads) {
    while (lanes().size() < threads) lanes().push_back(std::make_unique<Lane>());
  }

  void run() {
    for (unsigned i = 0; i < count_; i++) {
      Lane& lane = *lanes()[i];
      lane.state = State::ready;
      lane.copies.assign(1, {});
      lane.products.assign(1, {});
      lane.fiber.start([](void* kernel) { (*static_cast<const std::function<void()>*>(kernel))(); },
                       const_cast<std::function<void()>*>(&kernel_));
    }
    const unsigned warps = count_ / kWarp;
    for (;;) {
      const unsigned first = next() % warps;
      for (unsigned w = 0; w < warps; w++) run_warp((first + w) % warps);
      if (wake()) continue;
      unsigned waiting = 0, done = 0;
      for (unsigned i = 0; i < count_; i++) {
        waiting += lanes()[i]->state == State::at_block;
        done += lanes()[i]->state == State::done;
      }
      if (!transfers_.empty()) {  // as late as can be, and not in order
        if (done == count_) fail("a block has ended before its copies by tensor maps have arrived");
        const size_t last = next() % transfers_.size();
        const auto transfer = std::move(transfers_[last]);
        transfers_.erase(transfers_.begin() + static_cast<ptrdiff_t>(last));
        transfer();
        if (!faulted.empty()) fail(faulted);
        wake();
        continue;
      }
      if (done == count_) break;
      if (waiting != count_)
        fail(std::to_string(waiting) + " of " + std::to_string(count_) +
             " threads are at a barrier of the block, the others have ended or wait for a signal that never "
             "rises");
      for (unsigned i = 0; i < count_; i++) lanes()[i]->state = State::ready;
    }
    for (unsigned i = 0; i < count_; i++)
      if (!lanes()[i]->fiber.intact()) fail("a thread's stack has overflowed");
    for (unsigned i = 0; i < count_; i++)
      for (const auto& group : lanes()[i]->products)
        if (!group.empty()) fail("a thread has ended without waiting for its products");
  }

 private:
  // Kept from launch to launch: their stacks cost system calls.
  static std::vector<std::unique_ptr<Lane>>& lanes() {
    static std::vector<std::unique_ptr<Lane>> all;
    return all;
  }
  // Lanes whose signal has risen go on; whether there were any.
  bool wake() {
    bool any = false;
    for (unsigned i = 0; i < count_; i++) {
      Lane& lane = *lanes()[i];
      if (lane.state != State::at_signal || !lane.signalled(lane.signal)) continue;
      lane.state = State::ready;
      any = true;
    }
    return any;
  }
  unsigned next() {
    order_ = order_ * 1664525u + 1013904223u;
    return order_ >> 16;
  }

  void run_warp(unsigned warp) {
    const unsigned first = warp * kWarp;
    for (;;) {
      const bool backwards = next() & 1;
      for (unsigned i = 0; i < kWarp; i++) {
        const unsigned index = first + (backwards ? kWarp - 1 - i : i);
        Lane& lane = *lanes()[index];
        if (lane.state != State::ready) continue;
        running = &lane;
        current.thread.x = index;
        current.copies = &lane.copies;
        current.products = &lane.products;
        current.transfers = &transfers_;
        lane.fiber.resume();
        if (!faulted.empty()) fail(faulted);
        if (lane.fiber.done()) lane.state = State::done;
      }
      void* operands[kWarp];
      void (*combine)(void* const*) = nullptr;
      unsigned here = 0;
      for (unsigned i = 0; i < kWarp; i++) {
        Lane& lane = *lanes()[first + i];
        if (lane.state != State::at_warp) continue;
        operands[i] = lane.operand;
        if (here++ > 0 && lane.combine != combine) fail("lanes of a warp meet in different operations");
        combine = lane.combine;
      }
      if (here == 0) return;
      if (here != kWarp)
        fail(std::to_string(here) + " lanes of a warp meet, the others are elsewhere or have ended");
      combine(operands);
      for (unsigned i = 0; i < kWarp; i++) lanes()[first + i]->state = State::ready;
    }
  }

  const std::function<void()>& kernel_;
  const unsigned count_;
  std::vector<std::function<void()>> transfers_;
  unsigned order_ = 1;
};

}  // namespace

void meet_warp(void* operand, void (*combine)(void* const*)) {
  running->operand = operand;
  running->combine = combine;
  wait(State::at_warp);
}

void meet_block() {
  wait(State::at_block);
}

void wait_until(bool (*ready)(const void*), const void* of) {
  running->signalled = ready;
  running->signal = of;
  wait(State::at_signal);
}

void fault(const std::string& what) {
  faulted = "thread " + std::to_string(current.thread.x) + ": " + what;
  for (;;) wait(State::done);  // an exception could not leave the fiber
}

void run_grid(Dim3 grid, unsigned threads, size_t shared_bytes, const Limits& limits,
              const std::function<void()>& kernel) {
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  current = {};
  faulted.clear();
  if (threads == 0 || threads % kWarp || threads > kMaxThreads)
    fail("expected a block of whole warps, at most 1024 threads, received " + std::to_string(threads));
  if (shared_bytes > limits.shared)
    fail("expected at most " + std::to_string(limits.shared) + " bytes of shared memory, received " +
         std::to_string(shared_bytes));
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535)
    fail("expected a grid of at least one block and at most 65535 in y and z");
  elapsed += uint64_t{grid.x} * grid.y * grid.z * threads;
  const Memory shared(shared_bytes, 1024);
  Block block(threads, kernel);
  for (unsigned z = 0; z < grid.z; z++)
    for (unsigned y = 0; y < grid.y; y++)
      for (unsigned x = 0; x < grid.x; x++) {
        if (shared_bytes > 0) std::memset(shared.data(), 0xff, shared_bytes);
        current = {{}, {x, y, z}, {threads, 1, 1}, grid, shared.data(), shared_bytes, limits.warpgroups};
        block.run();
      }
}

}  // namespace latent_edge::emulator
