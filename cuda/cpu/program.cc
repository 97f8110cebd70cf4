#include "program.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "../addon/error.h"

namespace latent_edge {

namespace {

constexpr int kPoison = 0xff;  // every float a NaN, every int32 -1

std::unique_ptr<Step> bind(const OpDesc& op, BindContext& context, bool reference) {
  const auto it = cpu_kernels().find(op.op);
  if (it == cpu_kernels().end()) {
    std::string known;
    for (const auto& [name, kernel] : cpu_kernels()) known += (known.empty() ? "" : ", ") + name;
    throw std::runtime_error("unknown op, expected one of " + known);
  }
  return (reference ? it->second.reference : it->second.fast)(op, context);
}

}  // namespace

CpuProgram::CpuProgram(PlanDesc plan, WeightStore& weights, ThreadPool& pool, Scratch& arenas,
                       Scratch& scratch, std::shared_ptr<Account> account, CompileOptions options)
    : Program(std::move(plan)),
      pool_(pool),
      arenas_(arenas),
      scratch_(scratch),
      account_(std::move(account)),
      options_(options) {
  check_plan(plan_);
  BindContext context{weights, pool};
  size_t scratch_bytes = 0;
  for (size_t i = 0; i < plan_.ops.size(); i++) {
    steps_.push_back(at_op(plan_, i, [&] {
      check_weights(plan_.ops[i]);
      return bind(plan_.ops[i], context, options_.reference);
    }));
    scratch_bytes = std::max(scratch_bytes, steps_.back()->scratch_bytes());
  }
  scratch_claim_ = Scratch::Claim(scratch_, scratch_bytes);
  arena_claim_ = Scratch::Claim(arenas_, plan_.arena_bytes);
  arenas_.reserve();
}

void CpuProgram::release() {
  released_ = true;
  steps_.clear();
  arena_claim_.reset();
  scratch_claim_.reset();
}

void CpuProgram::run(RunRequest& request, const std::atomic<bool>& stop) {
  if (released_) throw std::runtime_error("plan \"" + plan_.name + "\" has been disposed");
  const Scratch::Use arenas(arenas_), scratches(scratch_);
  char* const arena = (*arenas).data();
  const Buffer& scratch = *scratches;

  if (options_.poison) {
    if (plan_.arena_bytes > 0) std::memset(arena, kPoison, plan_.arena_bytes);
    if (scratch.bytes() > 0) std::memset(scratch.data(), kPoison, scratch.bytes());
  }
  copy_in(request.inputs, arena);
  for (size_t i = 0; i < request.ops; i++) {
    if (stop.load(std::memory_order_relaxed))
      throw std::runtime_error("run of plan \"" + plan_.name + "\" was interrupted");
    at_op(plan_, i, [&] { steps_[i]->run(arena, scratch.data(), pool_); });
    if (options_.dtype != Element::f32) round(plan_.ops[i].output, arena);
  }
  copy_out(request.outputs, arena);
}

void CpuProgram::round(const TensorRef& output, char* arena) {
  if (output.dtype != DType::f32) return;
  constexpr int64_t kBlock = 1 << 16;
  float* values = reinterpret_cast<float*>(arena + output.offset);
  const int64_t n = elements(output.shape);
  pool_.parallel_for((n + kBlock - 1) / kBlock, [&](int64_t block, int) {
    const int64_t from = block * kBlock;
    round_to(options_.dtype, values + from, static_cast<size_t>(std::min(kBlock, n - from)));
  });
}

void CpuProgram::copy_in(const std::vector<ProgramInput>& inputs, char* arena) {
  for (const ProgramInput& input : inputs) {
    const NamedTensor& to = plan_.inputs[input.index];
    char* at = arena + to.offset;
    for (const InputPart& part : input.parts) {
      const auto* tensor = static_cast<const HostTensor*>(part.tensor.get());
      const char* from = tensor ? tensor->data() : part.data.data();
      if (tensor && !from)
        throw std::runtime_error("input \"" + to.name + "\" of plan \"" + plan_.name +
                                 "\" has been disposed");
      const size_t bytes = 4 * part.count();
      if (bytes > 0) std::memcpy(at, from, bytes);
      at += bytes;
    }
  }
}

void CpuProgram::copy_out(std::vector<ProgramOutput>& outputs, const char* arena) const {
  for (ProgramOutput& output : outputs) {
    const char* from = arena + output.ref.offset;
    if (output.keep) {
      auto tensor = std::make_shared<HostTensor>(output.ref.dtype, output.ref.shape, account_);
      std::memcpy(tensor->data(), from, tensor->bytes);
      output.tensor = std::move(tensor);
    } else {
      const float* values = reinterpret_cast<const float*>(from);
      output.data.assign(values, values + elements(output.ref.shape));
    }
  }
}

}  // namespace latent_edge
