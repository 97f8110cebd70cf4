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

GpuProgram::GpuProgram(PlanDesc plan, WeightStore& weights, std::shared_ptr<Heap> heap,
                       std::shared_ptr<Choice> choice, std::shared_ptr<Account> account,
                       CompileOptions options)
    : Program(std::move(plan)),
      heap_(std::move(heap)),
      runtime_(heap_->runtime()),
      choice_(std::move(choice)),
      account_(std::move(account)),
      options_(options),
      storage_(options.dtype) {
  check_plan(plan_);
  place();
  // The arena first: where memory is short it is the largest piece.
  arena_ = Memory(heap_, arena_bytes_, "the arena of plan \"" + plan_.name + "\"", &account_->arenas);
  complaints_ = Memory(heap_, 4 * plan_.ops.size(), "plan \"" + plan_.name + "\"", &account_->arenas);
  size_t home = aligned(complaints_.bytes());
  for (const NamedTensor& output : plan_.outputs) home += aligned(4 * count_of(output));
  reserve(home);
  bind(weights);
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
  arena_bytes_ = ops_bytes_ = aligned(plan_.arena_bytes * element_bytes(storage_) / 4);
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
    }
    placed.offset = arena_bytes_;
    arena_bytes_ += aligned(placed.bytes());
    inputs_.push_back(placed);
  }
  in_place_.resize(inputs_.size());
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

void GpuProgram::bind(WeightStore& weights) {
  BindContext context{storage_, runtime_.chip(), weights, *choice_, arena_.data(), nullptr};
  size_t scratch_bytes = 0;
  for (size_t i = 0; i < ops_.size(); i++) {
    context.complaint = reinterpret_cast<int32_t*>(complaints_.data()) + i;
    steps_.push_back(at_op(plan_, i, [&] {
      check_weights(ops_[i]);
      return kernel_of(ops_[i]).bind(ops_[i], context);
    }));
    scratch_bytes = std::max(scratch_bytes, steps_.back().scratch_bytes);
  }
  if (scratch_bytes > 0)
    scratch_ = Memory(heap_, scratch_bytes, "scratch of plan \"" + plan_.name + "\"", &account_->scratch);
  runtime_.synchronize();  // weights have been packed: what went wrong is told here
}

void GpuProgram::release() {
  if (released_) return;
  released_ = true;
  graph_.reset();
  steps_.clear();
  for (Memory* memory : {&arena_, &scratch_, &complaints_, &stage_, &host_}) memory->reset();
  // The device may end before JavaScript lets go of this.
  choice_.reset(), heap_.reset();
}

void GpuProgram::run(RunRequest& request, const std::atomic<bool>& stop) {
  if (released_) throw std::runtime_error("plan \"" + plan_.name + "\" has been disposed");
  try {
    compute(request, stop);
  } catch (...) {
    // What is under way still reads the stage; what lies in the inputs' places is not known.
    for (auto& tensors : in_place_) tensors.clear();
    try {
      runtime_.synchronize();
    } catch (const DeviceLost&) {
      throw;
    } catch (const std::exception&) {
      // The first error is the one to tell.
    }
    throw;
  }
}

void GpuProgram::compute(RunRequest& request, const std::atomic<bool>& stop) {
  if (options_.poison) {
    runtime_.fill(arena_.data(), kPoison, ops_bytes_);
    if (scratch_.data()) runtime_.fill(scratch_.data(), kPoison, scratch_.bytes());
  }
  copy_in(request.inputs);
  run_ops(request.ops, stop);
  copy_out(request.outputs, request.ops);
}

void GpuProgram::launch(size_t op) {
  std::vector<Range> tensors;
  for (const Placed& t : touched_[op]) tensors.push_back({at(t), t.bytes()});
  runtime_.expose({arena_.data(), arena_.bytes()}, tensors);
  steps_[op].launch(runtime_.stream(), scratch_.data());
}

// The first time an op runs it is waited for, so that an error names it. From then on a whole run is a graph.
void GpuProgram::run_ops(size_t ops, const std::atomic<bool>& stop) {
  const bool whole = ops == steps_.size();
  if (whole && checked_ && ops > 0) {
    if (!graph_) {
      graph_ = runtime_.capture([&] {
        for (size_t i = 0; i < ops; i++) at_op(plan_, i, [&] { launch(i); });
      });
    }
    if (stop.load(std::memory_order_relaxed))
      throw std::runtime_error("run of plan \"" + plan_.name + "\" was interrupted");
    runtime_.replay(*graph_);
  } else {
    for (size_t i = 0; i < ops; i++) {
      if (stop.load(std::memory_order_relaxed))
        throw std::runtime_error("run of plan \"" + plan_.name + "\" was interrupted");
      at_op(plan_, i, [&] {
        launch(i);
        runtime_.synchronize();
      });
    }
    checked_ = checked_ || whole;
  }
  runtime_.expose({arena_.data(), arena_.bytes()}, {{arena_.data(), arena_.bytes()}});
}

// Makes the stage and its twin on the host as large as a run needs.
void GpuProgram::reserve(size_t bytes) {
  if (bytes <= stage_.bytes()) return;
  runtime_.synchronize();
  stage_.reset(), host_.reset();
  stage_ = Memory(heap_, bytes, "inputs and outputs of plan \"" + plan_.name + "\"", &account_->arenas);
  host_ = Memory::on_host(heap_, bytes);
}

// Values go through the stage, all in one copy; tensors come from where they are, unless all of an input are in place
// already.
void GpuProgram::copy_in(const std::vector<ProgramInput>& inputs) {
  size_t bytes = 0;
  for (const ProgramInput& input : inputs)
    for (const InputPart& part : input.parts) bytes += aligned(part.data.size());
  reserve(bytes);
  size_t at_stage = 0;
  for (const ProgramInput& input : inputs)
    for (const InputPart& part : input.parts) {
      if (!part.data.empty()) std::memcpy(host_.data() + at_stage, part.data.data(), part.data.size());
      at_stage += aligned(part.data.size());
    }
  if (bytes > 0) runtime_.copy(stage_.data(), host_.data(), bytes);
  if (complaints_.bytes() > 0) runtime_.fill(complaints_.data(), 0, complaints_.bytes());
  at_stage = 0;
  for (const ProgramInput& input : inputs) {
    const bool is_there = is_in_place(input);
    auto& there = in_place_[input.index];
    if (!is_there) there.clear();
    for (const InputPart& part : input.parts)
      if (part.tensor && !static_cast<const GpuTensor*>(part.tensor.get())->data())
        throw std::runtime_error("input \"" + plan_.inputs[input.index].name + "\" of plan \"" + plan_.name +
                                 "\" has been disposed");
    if (is_there) continue;
    const Placed& to = inputs_[input.index];
    char* onto = at(to);
    for (const InputPart& part : input.parts) {
      const auto* tensor = static_cast<const GpuTensor*>(part.tensor.get());
      const char* from = tensor ? tensor->data() : stage_.data() + at_stage;
      const Scalar type = tensor ? tensor->element : to.element == Scalar::i32 ? Scalar::i32 : Scalar::f32;
      const size_t part_bytes = part.count() * bytes_of(to.element);
      if (type == to.element)
        runtime_.copy(onto, from, part_bytes);
      else
        convert(runtime_.stream(), from, type, onto, to.element, part.count());
      onto += part_bytes;
      at_stage += aligned(part.data.size());
    }
    if (std::all_of(input.parts.begin(), input.parts.end(), [](const InputPart& p) { return p.tensor; }))
      for (const InputPart& part : input.parts) there.push_back(part.tensor);
  }
}

// Whether an input's place holds the very tensors that are given, from an earlier run.
bool GpuProgram::is_in_place(const ProgramInput& input) const {
  const auto& there = in_place_[input.index];
  return !input.parts.empty() &&
         std::equal(there.begin(), there.end(), input.parts.begin(), input.parts.end(),
                    [](const std::weak_ptr<Tensor>& held, const InputPart& part) {
                      return part.tensor && held.lock() == part.tensor;
                    });
}

// Outputs come home as float32 through the stage, and with them what kernels complain about.
void GpuProgram::copy_out(std::vector<ProgramOutput>& outputs, size_t ops) {
  const size_t complaints = aligned(complaints_.bytes());
  size_t bytes = complaints;
  std::vector<size_t> offsets;
  for (const ProgramOutput& output : outputs) {
    offsets.push_back(bytes);
    if (!output.keep) bytes += aligned(4 * count_of(output.ref));
  }
  reserve(bytes);
  for (size_t i = 0; i < outputs.size(); i++) {
    ProgramOutput& output = outputs[i];
    const Placed from = resident(output.ref, ops);
    if (output.keep) {
      auto tensor =
          std::make_shared<GpuTensor>(heap_, output.ref.dtype, from.element, output.ref.shape, account_);
      runtime_.copy(tensor->data(), at(from), from.bytes());
      output.tensor = std::move(tensor);
    } else {
      convert(runtime_.stream(), at(from), from.element, stage_.data() + offsets[i], Scalar::f32, from.count);
    }
  }
  runtime_.copy(host_.data(), complaints_.data(), complaints_.bytes());
  if (bytes > complaints)
    runtime_.copy(host_.data() + complaints, stage_.data() + complaints, bytes - complaints);
  try {
    runtime_.synchronize();
  } catch (const CodedError&) {
    throw;
  } catch (const std::exception& e) {
    throw std::runtime_error("plan \"" + plan_.name + "\": " + e.what());
  }
  for (size_t i = 0; i < ops; i++) {
    const int32_t complaint = reinterpret_cast<const int32_t*>(host_.data())[i];
    if (complaint != 0 && steps_[i].explain)
      throw std::runtime_error(where(plan_, i) + ": " + steps_[i].explain(complaint));
  }
  for (size_t i = 0; i < outputs.size(); i++) {
    if (outputs[i].keep) continue;
    const float* values = reinterpret_cast<const float*>(host_.data() + offsets[i]);
    outputs[i].data.assign(values, values + count_of(outputs[i].ref));
  }
}

}  // namespace latent_edge::gpu
