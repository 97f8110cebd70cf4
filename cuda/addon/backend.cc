#include "backend.h"

#include <atomic>
#include <future>
#include <thread>

#include "../cpu/isa.h"
#include "../cpu/program.h"
#include "../gpu/backend.h"
#include "error.h"
#include "topology.h"

namespace latent_edge {

namespace {

class CpuBackend final : public Backend {
 public:
  CpuBackend(std::shared_ptr<Account> account, ThreadPool& pool)
      : account_(std::move(account)), pool_(pool) {}

  std::shared_ptr<Program> compile(PlanDesc plan, Checkpoint& weights, CompileOptions options) override {
    return std::make_shared<CpuProgram>(std::move(plan), weights, pool_, arenas_, scratch_, account_,
                                        options);
  }

 private:
  const std::shared_ptr<Account> account_;
  ThreadPool& pool_;
  Scratch arenas_{account_, &Account::arenas, "the arena of a plan"};
  Scratch scratch_{account_, &Account::scratch, "scratch"};
};

// On a thread of its own, which goes with the process where it hangs.
std::vector<gpu::GpuInfo> list_gpus_in_time(DriverStart start) {
  static std::atomic<bool> hangs{false};
  const auto listed = std::make_shared<std::promise<std::vector<gpu::GpuInfo>>>();
  std::future<std::vector<gpu::GpuInfo>> gpus = listed->get_future();
  if (!hangs)
    std::thread([listed, start] {
      while (start.hang) std::this_thread::sleep_for(std::chrono::seconds(1));
      try {
        listed->set_value(gpu::list_gpus());
      } catch (...) {
        listed->set_exception(std::current_exception());
      }
    }).detach();
  if (hangs || gpus.wait_for(start.patience) == std::future_status::timeout) {
    hangs = true;
    throw DeviceLost("the driver of the GPUs does not answer: it hangs");
  }
  return gpus.get();
}

}  // namespace

std::vector<DeviceInfo> list_cpus() {
  const DeviceInfo cpu{"cpu", cpu_name(), isa().name, "", usable_cores(), usable_memory()};
  DeviceInfo reference = cpu;
  reference.id = "cpu-reference";
  return {cpu, reference};
}

std::vector<DeviceInfo> list_devices(DriverStart start) {
  std::vector<DeviceInfo> devices = list_cpus();
  for (gpu::GpuInfo& gpu : list_gpus_in_time(start))
    devices.push_back({gpu.id, gpu.name, gpu.arch, gpu.driver, 0, gpu.memory_bytes, Element::f16});
  return devices;
}

std::unique_ptr<Backend> open_backend(const DeviceInfo& info, const OpenOptions& options,
                                      std::shared_ptr<Account> account, ThreadPool& pool) {
  if (info.threads > 0) return std::make_unique<CpuBackend>(std::move(account), pool);
  return std::make_unique<gpu::GpuBackend>(info.id, static_cast<size_t>(info.memory_bytes), options,
                                           std::move(account), pool);
}

}  // namespace latent_edge
