// The little that the executor needs of a device. Two implementations: runtime_cuda.cu, and the emulator's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernel.h"

namespace latent_edge::gpu {

struct Range {
  const void* data;
  size_t bytes;
};

// Used from the device's thread alone, but for release() and host memory. Work is done in order; calls that enqueue
// it return at once. Errors of the work itself are thrown by synchronize(), as std::runtime_error.
class Runtime {
 public:
  virtual ~Runtime() = default;

  virtual Chip chip() const = 0;
  // Of the device and its driver: what times depend on.
  virtual std::string identity() const = 0;
  // Bytes that could still be allocated, and all there are.
  virtual size_t free_bytes() = 0;
  virtual size_t total_bytes() = 0;

  // Device memory, 256-byte aligned; nullptr where there is not enough.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* data) = 0;
  // Host memory that copies can be made from and to while the host goes on.
  virtual void* allocate_host(size_t bytes) = 0;
  virtual void release_host(void* data) = 0;

  virtual Stream stream() = 0;
  // Host memory on either side is a runtime's own.
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  virtual void fill(void* to, int byte, size_t bytes) = 0;
  virtual void synchronize() = 0;

  // Two marks in the order of the work: await(i) returns when what was enqueued before the last mark(i) has been done.
  static constexpr int kMarks = 2;
  virtual void mark(int i) = 0;
  virtual void await(int i) = 0;

  // What work() enqueues is kept instead of done, and can be replayed.
  class Graph {
   public:
    virtual ~Graph() = default;
  };
  virtual std::unique_ptr<Graph> capture(const std::function<void()>& work) = 0;
  virtual void replay(Graph& graph) = 0;

  // Milliseconds that what work() enqueues takes on the device, once it is warm.
  virtual double time(const std::function<void()>& work) = 0;

  // A check that the emulator makes: of `arena`, kernels enqueued from here on touch `tensors` alone.
  virtual void expose(Range arena, const std::vector<Range>& tensors) { (void)arena, (void)tensors; }
};

struct GpuInfo {
  std::string id, name, arch, driver;
  int64_t memory_bytes = 0;
};

// The devices of this build's runtime: "cuda:0", …, or "emulator". Empty where there are none; never throws.
std::vector<GpuInfo> list_gpus();
// Why there are none; empty where there are.
std::string gpu_trouble();
// Throws std::runtime_error saying what is wrong with the device. Called on the thread that will use it.
std::shared_ptr<Runtime> open_gpu(const std::string& id);

}  // namespace latent_edge::gpu
