// A plan as the addon holds it: sidecar/graph/plan.ts, parsed.
#pragma once

#include <string>
#include <vector>

#include "../cpu/kernel.h"

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

// Throws std::runtime_error naming the tensor: every tensor has dimensions of at least 1, begins at a
// multiple of 64 bytes and ends within the arena; no op writes over what it reads; inputs lie apart from each
// other; names occur once; outputs are float32.
void check_plan(const PlanDesc& plan);

}  // namespace latent_edge
