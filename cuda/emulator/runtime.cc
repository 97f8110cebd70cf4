// The executor's runtime on the emulator: the device "emulator" of a build that has it.
#include "../gpu/runtime.h"

#include <cstring>

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

class EmulatedRuntime final : public Runtime {
 public:
  // A small chip, so that small shapes fill it.
  Chip chip() const override { return {.multiprocessors = 4, .shared_bytes = emulator::kMaxShared}; }
  size_t free_bytes() override { return kTotal; }
  size_t total_bytes() override { return kTotal; }

  void* allocate(size_t bytes) override { return bytes > kTotal ? nullptr : emulator::allocate(bytes); }
  void release(void* data) override { emulator::release(data); }
  void* allocate_host(size_t bytes) override { return emulator::allocate(bytes); }
  void release_host(void* data) override { emulator::release(data); }

  Stream stream() override { return reinterpret_cast<Stream>(&stream_); }
  void copy(void* to, const void* from, size_t bytes) override {
    stream_.enqueue([=] { std::memcpy(to, from, bytes); });
  }
  void fill(void* to, int byte, size_t bytes) override {
    stream_.enqueue([=] { std::memset(to, byte, bytes); });
  }
  void synchronize() override { stream_.synchronize(); }

  void begin_capture() override {
    captured_ = std::make_unique<EmulatedGraph>();
    stream_.capture(&captured_->work);
  }
  std::unique_ptr<Graph> end_capture() override {
    stream_.capture(nullptr);
    return std::move(captured_);
  }
  void replay(Graph& graph) override {
    for (const auto& item : static_cast<EmulatedGraph&>(graph).work) stream_.enqueue(item);
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
  emulator::Stream stream_;
  std::unique_ptr<EmulatedGraph> captured_;
};

}  // namespace

std::vector<GpuInfo> list_gpus() {
  return {{"emulator", "CUDA kernels emulated on the CPU", "sm_80", static_cast<int64_t>(kTotal)}};
}

std::string gpu_trouble() {
  return "";
}

std::shared_ptr<Runtime> open_gpu(const std::string&) {
  return std::make_shared<EmulatedRuntime>();
}

}  // namespace latent_edge::gpu
