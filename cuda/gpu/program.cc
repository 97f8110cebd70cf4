#include "program.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "../addon/error.h"

namespace latent_edge::gpu {

namespace {

constexpr int kPoison = 0xff;  // NaN in every type of float, −1 in int32

size_t aligned(size_t bytes) {
  return (bytes + 255) / 256 * 256;
}

size_t count_of(const TensorRef& t) {
  return static_cast<size_t>(elements(t.shape));
}

const Kernel& kernel_of(const OpDesc& op) {
  const auto it = kernels().find(op.op);
  if (it == kernels().end()) {
    std::string known;
    for (const auto& [name, kernel] : kernels()) known += (known.empty() ? "" : ", ") + name;
    throw std::runtime_error("the GPU backend has no such op, it has " + known);
  }
  return it->second;
}

bool wants_float(const Kernel& kernel, const std::string& input) {
  return std::find(kernel.float_inputs.begin(), kernel.float_inputs.end(), input) !=
         kernel.float_inputs.end();
}

}  // namespace

GpuProgram::GpuProgram(PlanDesc plan, WeightStore& weights, std::shared_ptr<Runtime> runtime,
                       ThreadPool& pool, std::shared_ptr<Account> account, CompileOptions options)
    : Program(std::move(plan)),
      runtime_(std::move(runtime)),
      account_(std::move(account)),
      options_(options),
      storage_(options.dtype) {
  check_plan(plan_);
  place();

  for (size_t i = 0; i < plan_.inputs.size(); i++) {
    inputs_at_.push_back(border_bytes_);
    border_bytes_ += aligned(4 * inputs_[i].count);
  }
  outputs_at_ = border_bytes_;
  for (const NamedTensor& output : plan_.outputs) border_bytes_ += aligned(4 * count_of(output));
  // Room for one op's output, asked for by itself, is made when it is asked for.
  complaints_at_ = border_bytes_;
  border_bytes_ += aligned(4 * plan_.ops.size());

  // The arena first: where memory is short it is the largest piece.
  arena_ = Memory(runtime_, arena_bytes_, "the arena of plan \"" + plan_.name + "\"", &account_->arenas);
  border_ =
      Memory(runtime_, border_bytes_, "inputs and outputs of plan \"" + plan_.name + "\"", &account_->arenas);
  host_ = static_cast<char*>(runtime_->allocate_host(border_bytes_));
  bind(weights, pool);
}

GpuProgram::Placed GpuProgram::placed_of(const TensorRef& t) const {
  return {scalar_of(storage_), t.offset * element_bytes(storage_) / 4, count_of(t)};
}

// What lies at t once `ops` ops have run: an op's output, or an input that none has overwritten.
GpuProgram::Placed GpuProgram::resident(const TensorRef& t, size_t ops) const {
  for (size_t i = ops; i-- > 0;)
    if (plan_.ops[i].output.offset == t.offset) return placed_of(t);
  for (size_t i = 0; i < inputs_.size(); i++)
    if (plan_.inputs[i].offset == t.offset) return inputs_[i];
  return placed_of(t);
}

// Gives every tensor its type and place. A tensor is told from others at the same offset by who wrote it last.
void GpuProgram::place() {
  arena_bytes_ = aligned(plan_.arena_bytes * element_bytes(storage_) / 4);
  struct Held {
    size_t input = 0;
    bool is_input = false;
  };
  std::vector<bool> wide(plan_.inputs.size()), narrow(plan_.inputs.size());
  std::vector<std::map<std::string, size_t>> readers(plan_.ops.size());  // op, its input → the plan's input
  {
    std::map<size_t, Held> at;
    for (size_t i = 0; i < plan_.inputs.size(); i++) at[plan_.inputs[i].offset] = {i, true};
    for (size_t i = 0; i < plan_.ops.size(); i++) {
      const OpDesc& op = plan_.ops[i];
      const Kernel& kernel = at_op(plan_, i, [&]() -> const Kernel& { return kernel_of(op); });
      for (const auto& [name, tensor] : op.inputs) {
        const auto held = at.find(tensor.offset);
        const bool is_input = held != at.end() && held->second.is_input;
        const bool exact = tensor.dtype == DType::i32 || wants_float(kernel, name);
        if (exact && !is_input)
          throw std::runtime_error(where(plan_, i) + ": expected " + name + " to be an input of the plan");
        if (!is_input) continue;
        readers[i][name] = held->second.input;
        (exact ? wide : narrow)[held->second.input] = true;
      }
      at[op.output.offset] = {};
    }
  }
  for (size_t i = 0; i < plan_.inputs.size(); i++) {
    const NamedTensor& input = plan_.inputs[i];
    Placed placed = placed_of(input);
    if (input.dtype == DType::i32 || wide[i]) {
      if (narrow[i])
        throw std::runtime_error("input \"" + input.name + "\" of plan \"" + plan_.name +
                                 "\" is read as float32 by one op and as the storage's type by another");
      placed.element = input.dtype == DType::i32 ? Scalar::i32 : Scalar::f32;
      placed.offset = arena_bytes_;
      arena_bytes_ += aligned(placed.bytes());
    }
    inputs_.push_back(placed);
  }
  for (size_t i = 0; i < plan_.ops.size(); i++) {
    OpDesc op = plan_.ops[i];
    std::vector<Placed> touched;
    for (auto& [name, tensor] : op.inputs) {
      const auto reader = readers[i].find(name);
      const Placed placed = reader == readers[i].end() ? placed_of(tensor) : inputs_[reader->second];
      tensor.offset = placed.offset;
      touched.push_back(placed);
    }
    touched.push_back(placed_of(op.output));
    op.output.offset = touched.back().offset;
    ops_.push_back(std::move(op));
    touched_.push_back(std::move(touched));
  }
}

void GpuProgram::bind(WeightStore& weights, ThreadPool& pool) {
  BindContext context{storage_, runtime_->chip(), weights, pool, arena_.data(), nullptr};
  size_t scratch_bytes = 0;
  for (size_t i = 0; i < ops_.size(); i++) {
    context.complaint = reinterpret_cast<int32_t*>(border_.data() + complaints_at_) + i;
    steps_.push_back(at_op(plan_, i, [&] {
      check_weights(ops_[i]);
      return kernel_of(ops_[i]).bind(ops_[i], context);
    }));
    scratch_bytes = std::max(scratch_bytes, steps_.back().scratch_bytes);
  }
  if (scratch_bytes > 0)
    scratch_ = Memory(runtime_, scratch_bytes, "scratch of plan \"" + plan_.name + "\"", &account_->scratch);
}

void GpuProgram::release() {
  if (released_) return;
  released_ = true;
  graph_.reset();
  steps_.clear();
  arena_.reset();
  scratch_.reset();
  border_.reset();
  runtime_->release_host(host_);
  host_ = nullptr;
}

void GpuProgram::run(RunRequest& request, const std::atomic<bool>& stop) {
  if (released_) throw std::runtime_error("plan \"" + plan_.name + "\" has been disposed");
  if (options_.poison) {
    runtime_->fill(arena_.data(), kPoison, arena_.bytes());
    if (scratch_.data()) runtime_->fill(scratch_.data(), kPoison, scratch_.bytes());
  }
  copy_in(request.inputs);
  run_ops(request.ops, stop);
  copy_out(request.outputs, request.ops);
}

void GpuProgram::launch(size_t op) {
  std::vector<Range> tensors;
  for (const Placed& t : touched_[op]) tensors.push_back({at(t), t.bytes()});
  runtime_->expose({arena_.data(), arena_.bytes()}, tensors);
  steps_[op].launch(runtime_->stream(), scratch_.data());
}

// The first time an op runs it is waited for, so that an error names it. From then on a whole run is a graph.
void GpuProgram::run_ops(size_t ops, const std::atomic<bool>& stop) {
  const bool whole = ops == steps_.size();
  if (whole && checked_ && ops > 0) {
    if (!graph_) {
      runtime_->begin_capture();
      for (size_t i = 0; i < ops; i++) at_op(plan_, i, [&] { launch(i); });
      graph_ = runtime_->end_capture();
    }
    if (stop.load(std::memory_order_relaxed))
      throw std::runtime_error("run of plan \"" + plan_.name + "\" was interrupted");
    runtime_->replay(*graph_);
  } else {
    for (size_t i = 0; i < ops; i++) {
      if (stop.load(std::memory_order_relaxed))
        throw std::runtime_error("run of plan \"" + plan_.name + "\" was interrupted");
      at_op(plan_, i, [&] {
        launch(i);
        runtime_->synchronize();
      });
    }
    checked_ = checked_ || whole;
  }
  runtime_->expose({arena_.data(), arena_.bytes()}, {{arena_.data(), arena_.bytes()}});
}

void GpuProgram::copy_in(const std::vector<ProgramInput>& inputs) {
  const auto disposed = [&](size_t i) {
    return std::runtime_error("input \"" + plan_.inputs[i].name + "\" of plan \"" + plan_.name +
                              "\" has been disposed");
  };
  std::memset(host_ + complaints_at_, 0, 4 * plan_.ops.size());
  for (const ProgramInput& input : inputs)
    if (!input.tensor) std::memcpy(host_ + inputs_at_[input.index], input.data.data(), input.data.size());
  runtime_->copy(border_.data(), host_, outputs_at_);
  runtime_->copy(border_.data() + complaints_at_, host_ + complaints_at_, 4 * plan_.ops.size());
  for (const ProgramInput& input : inputs) {
    const Placed& to = inputs_[input.index];
    const auto* tensor = static_cast<const GpuTensor*>(input.tensor.get());
    if (tensor && !tensor->data()) throw disposed(input.index);
    const Scalar as_it_came = to.element == Scalar::i32 ? Scalar::i32 : Scalar::f32;
    const char* from = tensor ? tensor->data() : border_.data() + inputs_at_[input.index];
    const Scalar from_type = tensor ? tensor->element : as_it_came;
    if (from_type == to.element)
      runtime_->copy(at(to), from, to.bytes());
    else
      convert(runtime_->stream(), from, from_type, at(to), to.element, to.count);
  }
}

// Outputs come home as float32 through the border; those of an op asked for by itself through memory of their own.
void GpuProgram::copy_out(std::vector<ProgramOutput>& outputs, size_t ops) {
  size_t bytes = 0;
  std::vector<size_t> offsets;
  for (const ProgramOutput& output : outputs) {
    offsets.push_back(bytes);
    if (!output.keep) bytes += aligned(4 * count_of(output.ref));
  }
  const bool fits = outputs_at_ + bytes <= complaints_at_;
  Memory own_device;
  std::unique_ptr<char, std::function<void(char*)>> own_host(nullptr,
                                                             [this](char* p) { runtime_->release_host(p); });
  if (!fits) {
    own_device = Memory(runtime_, bytes, "an op's output", &account_->arenas);
    own_host.reset(static_cast<char*>(runtime_->allocate_host(bytes)));
  }
  char* const device = fits ? border_.data() + outputs_at_ : own_device.data();
  char* const host = fits ? host_ + outputs_at_ : own_host.get();

  for (size_t i = 0; i < outputs.size(); i++) {
    ProgramOutput& output = outputs[i];
    const Placed from = resident(output.ref, ops);
    if (output.keep) {
      auto tensor =
          std::make_shared<GpuTensor>(runtime_, output.ref.dtype, from.element, output.ref.shape, account_);
      runtime_->copy(tensor->data(), at(from), from.bytes());
      output.tensor = std::move(tensor);
    } else {
      convert(runtime_->stream(), at(from), from.element, device + offsets[i], Scalar::f32, from.count);
    }
  }
  if (bytes > 0) runtime_->copy(host, device, bytes);
  runtime_->copy(host_ + complaints_at_, border_.data() + complaints_at_, 4 * plan_.ops.size());
  try {
    runtime_->synchronize();
  } catch (const CodedError&) {
    throw;
  } catch (const std::exception& e) {
    throw std::runtime_error("plan \"" + plan_.name + "\": " + e.what());
  }
  for (size_t i = 0; i < ops; i++) {
    const int32_t complaint = reinterpret_cast<const int32_t*>(host_ + complaints_at_)[i];
    if (complaint != 0 && steps_[i].explain)
      throw std::runtime_error(where(plan_, i) + ": " + steps_[i].explain(complaint));
  }
  for (size_t i = 0; i < outputs.size(); i++) {
    if (outputs[i].keep) continue;
    const float* values = reinterpret_cast<const float*>(host + offsets[i]);
    outputs[i].data.assign(values, values + count_of(outputs[i].ref));
  }
}

}  // namespace latent_edge::gpu
