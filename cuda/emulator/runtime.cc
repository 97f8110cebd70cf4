// The executor's runtime on the emulator: the devices "emulator" and "emulator:1" of a build that has it.
#include "../gpu/runtime.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <thread>
#include <utility>

#include "grid.h"
#include "memory.h"
#include "stream.h"

namespace latent_edge::gpu {

namespace {

constexpr size_t kTotal = size_t{4} << 30;

class EmulatedGraph final : public Runtime::Graph {
 public:
  emulator::Work work;
};

// Two devices: the memory of one is not the other's. The second has what a Hopper has.
constexpr int kDevices = 2;
std::atomic<size_t> used[kDevices];

class EmulatedRuntime final : public Runtime {
 public:
  EmulatedRuntime(std::atomic<size_t>& used, bool hopper) : used_(used) {
    if (hopper) stream_.limits = {emulator::kHopperShared, true};
  }
  // Another thread may be another device's to a driver.
  ~EmulatedRuntime() override {
    if (std::this_thread::get_id() == thread_) return;
    std::fputs("emulator: a device is ended on another thread than it was made on\n", stderr);
    std::abort();
  }

  // A small chip, so that small shapes fill it.
  Chip chip() const override {
    return {
        .multiprocessors = 4, .shared_bytes = stream_.limits.shared, .warpgroups = stream_.limits.warpgroups};
  }
  std::string identity() const override { return "emulator"; }
  size_t free_bytes() override { return kTotal - std::min(kTotal, used_.load()); }
  size_t total_bytes() override { return kTotal; }

  void* allocate(size_t bytes) override {
    if (bytes > free_bytes()) return nullptr;
    void* data = emulator::allocate(bytes);
    if (data) used_ += bytes, sizes_[data] = bytes;
    return data;
  }
  void release(void* data) override {
    finish();
    used_ -= sizes_.extract(data).mapped();
    emulator::release(data);
  }
  void* allocate_host(size_t bytes) override { return emulator::allocate(bytes); }
  void release_host(void* data) override {
    finish();
    emulator::release(data);
  }

  Stream stream() override { return reinterpret_cast<Stream>(&stream_); }
  void copy(void* to, const void* from, size_t bytes) override {
    stream_.enqueue([=] { std::memcpy(to, from, bytes); });
  }
  void fill(void* to, int byte, size_t bytes) override {
    stream_.enqueue([=] { std::memset(to, byte, bytes); });
  }
  void synchronize() override {
    finish();
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

  void mark(int) override {}
  void await(int) override { synchronize(); }

  std::unique_ptr<Graph> capture(const std::function<void()>& work) override {
    auto graph = std::make_unique<EmulatedGraph>();
    stream_.capture(&graph->work);
    try {
      work();
    } catch (...) {
      stream_.capture(nullptr);
      throw;
    }
    stream_.capture(nullptr);
    return graph;
  }
  void replay(Graph& graph) override {
    for (const auto& item : static_cast<EmulatedGraph&>(graph).work) stream_.enqueue(item);
  }

  // A thread of a kernel takes a nanosecond: times are the same every time.
  double time(const std::function<void()>& work) override {
    synchronize();
    const uint64_t began = emulator::elapsed;
    work();
    synchronize();
    return static_cast<double>(emulator::elapsed - began) * 1e-6;
  }

  void expose(Range arena, const std::vector<Range>& tensors) override {
#if defined(__SANITIZE_ADDRESS__)
    stream_.enqueue([=] {
      ASAN_POISON_MEMORY_REGION(arena.data, arena.bytes);
      for (const Range& t : tensors) ASAN_UNPOISON_MEMORY_REGION(t.data, t.bytes);
    });
#else
    (void)arena, (void)tensors;
#endif
  }

 private:
  // Memory is given back when nothing uses it any more, as CUDA does; errors are for who waits.
  void finish() {
    try {
      stream_.synchronize();
    } catch (...) {
      if (!failure_) failure_ = std::current_exception();
    }
  }

  emulator::Stream stream_;
  std::exception_ptr failure_;
  std::atomic<size_t>& used_;
  std::map<void*, size_t> sizes_;
  const std::thread::id thread_ = std::this_thread::get_id();
};

}  // namespace

std::vector<GpuInfo> list_gpus() {
  std::vector<GpuInfo> gpus;
  for (const auto& [id, arch] : {std::pair("emulator", "sm_80"), {"emulator:1", "sm_90a"}})
    gpus.push_back({id, "CUDA kernels emulated on the CPU", arch, "", static_cast<int64_t>(kTotal)});
  return gpus;
}

std::string gpu_trouble() {
  return "";
}

std::shared_ptr<Runtime> open_gpu(const std::string& id) {
  return std::make_shared<EmulatedRuntime>(used[id == "emulator:1"], id == "emulator:1");
}

}  // namespace latent_edge::gpu
