// A thread of a block, on a stack of its own, that runs until it waits for others.
#pragma once

#include <cstddef>

namespace latent_edge::emulator {

class Fiber {
 public:
  static constexpr size_t kStack = 64 << 10;  // bytes; a kernel's arrays of registers live there

  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next resume() calls body(argument) from its beginning.
  void start(void (*body)(void*), void* argument);
  // Runs until the body suspends or returns. Called by the scheduler.
  void resume();
  // Back to the scheduler. Called by the body.
  void suspend();
  bool done() const { return done_; }
  // False where the body has written past the end of its stack.
  bool intact() const;

 private:
  [[noreturn]] static void enter();

  char* stack_ = nullptr;
  void* here_ = nullptr;       // this fiber's stack pointer, or context, while it waits
  void* scheduler_ = nullptr;  // the scheduler's, while this fiber runs
  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
  bool done_ = true;
};

}  // namespace latent_edge::emulator
