#include "backend.h"

#include "program.h"
#include "weights.h"

namespace latent_edge::gpu {

GpuBackend::GpuBackend(const std::string& id, size_t memory_bytes, const OpenOptions& options,
                       std::shared_ptr<Account> account, ThreadPool& pool)
    : heap_(std::make_shared<Heap>(open_gpu(id), memory_bytes)),
      account_(std::move(account)),
      choice_(std::make_shared<Choice>(options.providers, options.choices_file, heap_, account_)),
      pool_(pool) {}

std::shared_ptr<Program> GpuBackend::compile(PlanDesc plan, Checkpoint& weights, CompileOptions options) {
  CheckpointWeights store(weights, heap_, account_, pool_);
  return std::make_shared<GpuProgram>(std::move(plan), store, heap_, choice_, account_, options);
}

std::map<std::string, std::string> GpuBackend::choices() const {
  return choice_->made();
}

}  // namespace latent_edge::gpu
