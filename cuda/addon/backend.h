// What a device computes with: the CPU's kernels, or a GPU's.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "account.h"
#include "checkpoint.h"
#include "program.h"

namespace latent_edge {

struct DeviceInfo {
  std::string id, name, arch;
  std::string driver = "";  // of a GPU
  int threads = 0;          // of the CPU; 0 on a GPU
  int64_t memory_bytes = 0;
  Element dtype = Element::f32;  // that it computes in
};

// The CPU, and the same with plain loops.
std::vector<DeviceInfo> list_cpus();

// What is waited for where the driver of GPUs starts, with the first question to it.
struct DriverStart {
  std::chrono::milliseconds patience = std::chrono::seconds(60);
  bool hang = false;  // tests: as a driver can
};

// Every device that this build can open or that this machine has. Throws DeviceLost where the driver of the
// GPUs does not answer in time, then and from then on.
std::vector<DeviceInfo> list_devices(DriverStart start = {});

// Used from the device's thread alone.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::shared_ptr<Program> compile(PlanDesc plan, Checkpoint& weights, CompileOptions options) = 0;
  // Who computes each product that there was a choice for, by its shape.
  virtual std::map<std::string, std::string> choices() const { return {}; }
};

// On the device's thread. Throws std::runtime_error saying why the device cannot be used.
std::unique_ptr<Backend> open_backend(const DeviceInfo& info, const OpenOptions& options,
                                      std::shared_ptr<Account> account, ThreadPool& pool);

}  // namespace latent_edge
