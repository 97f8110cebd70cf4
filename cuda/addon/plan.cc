#include "plan.h"

#include <set>

namespace latent_edge {

const char* to_string(DType type) {
  return type == DType::f32 ? "f32" : "i32";
}

std::string where(const PlanDesc& plan, size_t op) {
  const OpDesc& desc = plan.ops[op];
  return desc.op + " at " + desc.scope + " (op " + std::to_string(op) + ")";
}

void check_weights(const OpDesc& op) {
  for (const auto& [name, weight] : op.weights) {
    int64_t bytes = 4;
    for (int64_t d : weight.shape) {
      if (d < 1)
        throw std::runtime_error("expected " + name + " of dimensions of at least 1, received " +
                                 to_string(weight.shape));
      if (__builtin_mul_overflow(bytes, d, &bytes))
        throw std::runtime_error("expected " + name + " of fewer elements, received " +
                                 to_string(weight.shape));
    }
  }
}

namespace {

void check_tensor(const TensorRef& t, size_t arena_bytes, const std::string& what) {
  size_t bytes = 4;
  for (int64_t d : t.shape) {
    if (d < 1)
      throw std::runtime_error(what + ": expected dimensions of at least 1, received " + to_string(t.shape));
    if (__builtin_mul_overflow(bytes, static_cast<size_t>(d), &bytes))
      throw std::runtime_error(what + ": shape " + to_string(t.shape) + " has too many elements");
  }
  if (t.offset % 64 != 0)
    throw std::runtime_error(what + ": expected an offset that is a multiple of 64, received " +
                             std::to_string(t.offset));
  if (t.offset > arena_bytes || bytes > arena_bytes - t.offset)
    throw std::runtime_error(what + ": " + std::to_string(bytes) + " bytes at offset " +
                             std::to_string(t.offset) + " end outside the arena of " +
                             std::to_string(arena_bytes) + " bytes");
}

bool overlap(const TensorRef& a, const TensorRef& b) {
  return a.offset < b.offset + tensor_bytes(b) && b.offset < a.offset + tensor_bytes(a);
}

void check_names(const std::vector<NamedTensor>& tensors, const PlanDesc& plan, const char* kind) {
  std::set<std::string> seen;
  for (const NamedTensor& t : tensors) {
    const std::string what = std::string(kind) + " \"" + t.name + "\" of plan \"" + plan.name + "\"";
    if (!seen.insert(t.name).second) throw std::runtime_error(what + " occurs twice");
    check_tensor(t, plan.arena_bytes, what);
  }
}

}  // namespace

void check_plan(const PlanDesc& plan) {
  check_names(plan.inputs, plan, "input");
  check_names(plan.outputs, plan, "output");
  for (size_t i = 0; i < plan.inputs.size(); i++)
    for (size_t j = 0; j < i; j++)
      if (overlap(plan.inputs[i], plan.inputs[j]))
        throw std::runtime_error("inputs \"" + plan.inputs[j].name + "\" and \"" + plan.inputs[i].name +
                                 "\" of plan \"" + plan.name + "\" overlap in the arena");
  for (const NamedTensor& t : plan.outputs)
    if (t.dtype != DType::f32)
      throw std::runtime_error("output \"" + t.name + "\" of plan \"" + plan.name +
                               "\": expected f32, received i32");

  for (size_t i = 0; i < plan.ops.size(); i++) {
    const OpDesc& op = plan.ops[i];
    check_tensor(op.output, plan.arena_bytes, where(plan, i) + ": output");
    for (const auto& [name, input] : op.inputs) {
      check_tensor(input, plan.arena_bytes, where(plan, i) + ": input \"" + name + "\"");
      if (overlap(input, op.output))
        throw std::runtime_error(where(plan, i) + ": output overlaps input \"" + name + "\" in the arena");
    }
  }
}

}  // namespace latent_edge
