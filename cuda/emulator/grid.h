// Runs a kernel's grid on the CPU: blocks one after another, the threads of a block as fibers that meet at barriers
// and in warp-wide operations. Deterministic; the order of warps and lanes changes from phase to phase, so that a
// missing barrier shows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fiber.h"

namespace latent_edge::emulator {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};

constexpr int kWarp = 32;
// What a block may have: the least of the supported chips (sm_86, sm_89), and a Hopper's.
constexpr size_t kMaxShared = 99 << 10, kHopperShared = 227 << 10;
constexpr unsigned kMaxThreads = 1024;

// What a device's blocks may have.
struct Limits {
  size_t shared = kMaxShared;
  bool warpgroups = false;
};

// A copy from global to shared memory that has been asked for and not yet waited for.
struct PendingCopy {
  void* to;
  const void* from;
  unsigned bytes, valid;  // the rest of the bytes become 0
};

// A lane's part in a product of a warpgroup that has been asked for and not yet waited for: run(lanes) computes what is
// a warp's, given the parts of each of its lanes.
struct PendingProduct {
  float* sums;
  const void *left, *right;  // left: rows in shared memory, or the lane's registers
  int left_channel, right_channel, slab_bytes, row_bytes, warp;
  void (*run)(const PendingProduct* const (&lanes)[kWarp]);
};

// The thread that runs, as a kernel sees it.
struct Thread {
  Dim3 thread, block, block_size, grid_size;
  char* shared = nullptr;
  size_t shared_bytes = 0;
  bool warpgroups = false;

  std::vector<std::function<void()>>* transfers = nullptr;       // the block's copies that signals wait for
  std::vector<std::vector<PendingCopy>>* copies = nullptr;       // its groups of copies; the last one is open
  std::vector<std::vector<PendingProduct>>* products = nullptr;  // the same of products
};
extern Thread current;
// Threads that have run for this thread of the host, and what providers.cc adds.
extern thread_local uint64_t elapsed;

// The lanes of a warp meet: combine(operands) is called once with each lane's operand. Every lane must come to
// the same operation.
void meet_warp(void* operand, void (*combine)(void* const* operands));
// __syncthreads.
void meet_block();
// The thread goes on when ready(of) says so, once all others have run until they wait.
void wait_until(bool (*ready)(const void* of), const void* of);
// Ends the launch with an error that names the block; for what a device would fault at. Called by a thread.
[[noreturn]] void fault(const std::string& what);

// Runs kernel() for each thread of each block. `shared` bytes are filled with 0xff (NaN) before each block.
// Throws std::runtime_error where threads diverge at a barrier, or what they ask for is too much.
void run_grid(Dim3 grid, unsigned threads, size_t shared_bytes, const Limits& limits,
              const std::function<void()>& kernel);

}  // namespace latent_edge::emulator
