#include "program.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "error.h"

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
  for (const auto& [name, weight] : op.weights)
    for (int64_t d : weight.shape)
      if (d < 1)
        throw std::runtime_error("expected " + name + " of dimensions of at least 1, received " +
                                 to_string(weight.shape));
  return (reference ? it->second.reference : it->second.fast)(op, context);
}

// Runs body; errors say which op it was.
template <class Body>
auto at(const PlanDesc& plan, size_t op, Body body) {
  try {
    return body();
  } catch (const CodedError& e) {
    throw CodedError(e.code(), where(plan, op) + ": " + e.what());
  } catch (const std::bad_alloc&) {
    throw OutOfMemory(where(plan, op) + ": not enough memory");
  } catch (const std::exception& e) {
    throw std::runtime_error(where(plan, op) + ": " + e.what());
  }
}

}  // namespace

Program::Program(PlanDesc plan, WeightStore& weights, ThreadPool& pool, Scratch& scratch,
                 std::shared_ptr<Account> account, CompileOptions options)
    : plan_(std::move(plan)),
      pool_(pool),
      scratch_(scratch),
      account_(std::move(account)),
      options_(options) {
  check_plan(plan_);
  BindContext context{weights, pool};
  size_t scratch_bytes = 0;
  for (size_t i = 0; i < plan_.ops.size(); i++) {
    steps_.push_back(at(plan_, i, [&] { return bind(plan_.ops[i], context, options_.reference); }));
    scratch_bytes = std::max(scratch_bytes, steps_.back()->scratch_bytes());
  }
  claim_ = Scratch::Claim(scratch_, scratch_bytes);
  arena_ = Buffer(plan_.arena_bytes, "the arena of a plan", &account_->arenas);
}

void Program::release() {
  released_ = true;
  steps_.clear();
  arena_.reset();
  claim_.reset();
}

void Program::run(RunRequest& request, const std::atomic<bool>& stop) {
  if (released_) throw std::runtime_error("plan \"" + plan_.name + "\" has been disposed");
  Buffer& scratch = scratch_.buffer();
  struct Leave {
    Scratch& scratch;
    ~Leave() { scratch.leave(); }
  } leave{scratch_};

  if (options_.poison) {
    std::memset(arena_.data(), kPoison, arena_.bytes());
    if (scratch.bytes() > 0) std::memset(scratch.data(), kPoison, scratch.bytes());
  }
  copy_in(request.inputs);
  for (size_t i = 0; i < request.ops; i++) {
    if (stop.load(std::memory_order_relaxed))
      throw std::runtime_error("run of plan \"" + plan_.name + "\" was interrupted");
    at(plan_, i, [&] { steps_[i]->run(arena_.data(), scratch.data(), pool_); });
    if (options_.dtype != Element::f32) round(plan_.ops[i].output);
  }
  copy_out(request.outputs);
}

void Program::round(const TensorRef& output) {
  if (output.dtype != DType::f32) return;
  constexpr int64_t kBlock = 1 << 16;
  float* values = reinterpret_cast<float*>(arena_.data() + output.offset);
  const int64_t n = elements(output.shape);
  pool_.parallel_for((n + kBlock - 1) / kBlock, [&](int64_t block, int) {
    const int64_t from = block * kBlock;
    round_to(options_.dtype, values + from, static_cast<size_t>(std::min(kBlock, n - from)));
  });
}

void Program::copy_in(const std::vector<ProgramInput>& inputs) {
  for (const ProgramInput& input : inputs) {
    const NamedTensor& to = plan_.inputs[input.index];
    const char* from = input.tensor ? input.tensor->data() : input.data.data();
    if (!from)
      throw std::runtime_error("input \"" + to.name + "\" of plan \"" + plan_.name + "\" has been disposed");
    std::memcpy(arena_.data() + to.offset, from, tensor_bytes(to));
  }
}

void Program::copy_out(std::vector<ProgramOutput>& outputs) const {
  for (ProgramOutput& output : outputs) {
    const char* from = arena_.data() + output.ref.offset;
    if (output.keep) {
      output.tensor = std::make_shared<Tensor>(output.ref.dtype, output.ref.shape, account_);
      std::memcpy(output.tensor->data(), from, output.tensor->bytes);
    } else {
      const float* values = reinterpret_cast<const float*>(from);
      output.data.assign(values, values + elements(output.ref.shape));
    }
  }
}

}  // namespace latent_edge
