// A plan as the addon holds it: sidecar/graph/plan.ts, parsed.
#pragma once

#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "../ops/op.h"
#include "error.h"

namespace latent_edge {

struct NamedTensor : TensorRef {
  std::string name;
};

struct PlanDesc {
  std::string name;
  size_t arena_bytes = 0;
  std::vector<NamedTensor> inputs, outputs;
  std::vector<OpDesc> ops;
};

// Both element types have 4 bytes. Meant for tensors that check_plan has seen: it does not look for overflow.
inline size_t tensor_bytes(const TensorRef& t) {
  return static_cast<size_t>(elements(t.shape)) * 4;
}

const char* to_string(DType type);

// "conv2d at down_blocks.0.resnets.0.conv1 (op 12)"
std::string where(const PlanDesc& plan, size_t op);

// Runs body; errors say which op it was.
template <class Body>
decltype(auto) at_op(const PlanDesc& plan, size_t op, Body body) {
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

// Throws std::runtime_error unless each weight has dimensions of at least 1.
void check_weights(const OpDesc& op);

// Throws std::runtime_error naming the tensor: every tensor has dimensions of at least 1, begins at a
// multiple of 64 bytes and ends within the arena; no op writes over what it reads; inputs lie apart from each
// other; names occur once; outputs are float32.
void check_plan(const PlanDesc& plan);

}  // namespace latent_edge
