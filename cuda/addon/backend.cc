#include "backend.h"

#include "../cpu/isa.h"
#include "../cpu/program.h"
#include "../gpu/backend.h"
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

}  // namespace

std::vector<DeviceInfo> list_devices() {
  const DeviceInfo cpu{"cpu", cpu_name(), isa().name, "", usable_cores(), usable_memory()};
  DeviceInfo reference = cpu;
  reference.id = "cpu-reference";
  std::vector<DeviceInfo> devices = {cpu, reference};
  for (gpu::GpuInfo& gpu : gpu::list_gpus())
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
