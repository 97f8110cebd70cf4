// A stand-in of cuDNN for the emulator: the functions of abi_cudnn.h. Descriptors keep their attributes; executing a plan
// goes through its graph, operation by operation, on whole tensors in float32.
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "../emulator/half.h"
#include "../emulator/stream.h"
#include "../gpu/abi_cudnn.h"
#include "failing.h"

using namespace latent_edge;
using namespace latent_edge::gpu::cudnn;

namespace {

constexpr Status kBadParameter = 2000, kNotSupported = 3000, kExecutionFailed = 5000;
constexpr int64_t kWorkspace = 512;

size_t bytes_of(Type type) {
  switch (type) {
    case kTypeBoolean:
      return 1;
    case kTypeHandle:
    case kTypeInt64:
    case kTypePointer:
    case kTypeDescriptor:
      return 8;
    default:
      return 4;
  }
}

struct Node {
  Kind kind;
  bool final = false;
  struct Value {
    Type type;
    std::vector<char> bytes;
  };
  std::map<int, Value> attributes;

  bool has(Attribute attribute) const { return attributes.count(attribute) > 0; }
  template <class V>
  std::vector<V> all(Attribute attribute) const {
    const auto& bytes = attributes.at(attribute).bytes;
    std::vector<V> values(bytes.size() / sizeof(V));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  template <class V>
  V one(Attribute attribute) const {
    V value;
    std::memcpy(&value, attributes.at(attribute).bytes.data(), sizeof value);
    return value;
  }
  const Node& node(Attribute attribute) const { return *static_cast<Node*>(one<Descriptor>(attribute)); }
};

// What must be known of a descriptor before it is final.
std::vector<Attribute> required(Kind kind) {
  switch (kind) {
    case kPointwise:
      return {kPointwiseMode, kPointwisePrecision};
    case kConvolution:
      return {kConvolutionPrecision, kConvolutionMode, kDilations,  kStrides,
              kPostPaddings,         kPrePaddings,     kSpatialDims};
    case kHeuristic:
      return {kHeuristicGraph, kHeuristicMode};
    case kPlan:
      return {kPlanHandle, kPlanConfiguration};
    case kConvolutionForward:
      return {kForwardAlpha, kForwardBeta, kForwardConvolution, kForwardW, kForwardX, kForwardY};
    case kPointwiseOperation:
      return {kOperationPointwise, kOperationX, kOperationB, kOperationY};
    case kGraph:
      return {kGraphHandle, kGraphOperations};
    case kVariantPack:
      return {kPackIds, kPackPointers, kPackWorkspace};
    case kTensor:
      return {kTensorAlignment, kTensorType, kTensorDimensions, kTensorStrides, kTensorId};
    default:
      return {};
  }
}

// A tensor's place: its sizes [N,C,H,W], what lies between neighbours, its type.
struct Tensor {
  std::vector<int64_t> sizes, strides;
  DataType type;
  int64_t id;
  bool is_virtual;

  explicit Tensor(const Node& n)
      : sizes(n.all<int64_t>(kTensorDimensions)),
        strides(n.all<int64_t>(kTensorStrides)),
        type(n.one<DataType>(kTensorType)),
        id(n.one<int64_t>(kTensorId)),
        is_virtual(n.has(kTensorIsVirtual) && n.one<bool>(kTensorIsVirtual)) {}
  size_t count() const { return static_cast<size_t>(sizes[0] * sizes[1] * sizes[2] * sizes[3]); }
  // Of sizes of 1 there is but one element, whatever is asked for.
  size_t at(int64_t n, int64_t c, int64_t h, int64_t w) const {
    const int64_t index[] = {n, c, h, w};
    size_t sum = 0;
    for (int i = 0; i < 4; i++) sum += static_cast<size_t>(sizes[i] == 1 ? 0 : index[i] * strides[i]);
    return sum;
  }
};

using Memory = std::map<int64_t, std::vector<float>>;  // by a tensor's id

struct Run {
  std::map<int64_t, void*> pointers;
  Memory memory;

  const std::vector<float>& read(const Tensor& t) {
    auto& values = memory[t.id];
    if (t.is_virtual || !values.empty()) return values;
    const void* from = pointers.at(t.id);
    values.resize(t.count());
    for (size_t i = 0; i < values.size(); i++)
      values[i] = t.type == kFloat  ? static_cast<const float*>(from)[i]
                  : t.type == kHalf ? gpu::to_float(static_cast<const gpu::f16*>(from)[i])
                                    : gpu::to_float(static_cast<const gpu::bf16*>(from)[i]);
    return values;
  }
  void write(const Tensor& t, std::vector<float> values) {
    if (!t.is_virtual) {
      void* to = pointers.at(t.id);
      for (size_t i = 0; i < values.size(); i++)
        if (t.type == kFloat)
          static_cast<float*>(to)[i] = values[i];
        else if (t.type == kHalf)
          static_cast<gpu::f16*>(to)[i] = gpu::from_float<gpu::f16>(values[i]);
        else
          static_cast<gpu::bf16*>(to)[i] = gpu::from_float<gpu::bf16>(values[i]);
    }
    memory[t.id] = std::move(values);
  }
  template <class F>
  static std::vector<float> each(const Tensor& t, F f) {
    std::vector<float> values(t.count());
    for (int64_t n = 0; n < t.sizes[0]; n++)
      for (int64_t c = 0; c < t.sizes[1]; c++)
        for (int64_t h = 0; h < t.sizes[2]; h++)
          for (int64_t w = 0; w < t.sizes[3]; w++) values[t.at(n, c, h, w)] = f(n, c, h, w);
    return values;
  }

  void convolve(const Node& op) {
    const Tensor x(op.node(kForwardX)), weight(op.node(kForwardW)), y(op.node(kForwardY));
    const Node& how = op.node(kForwardConvolution);
    const auto before = how.all<int64_t>(kPrePaddings), stride = how.all<int64_t>(kStrides);
    const auto &from = read(x), &w = read(weight);
    write(y, each(y, [&](int64_t n, int64_t k, int64_t oy, int64_t ox) {
            float sum = 0;
            for (int64_t r = 0; r < weight.sizes[2]; r++)
              for (int64_t s = 0; s < weight.sizes[3]; s++) {
                const int64_t iy = oy * stride[0] + r - before[0], ix = ox * stride[1] + s - before[1];
                if (iy < 0 || iy >= x.sizes[2] || ix < 0 || ix >= x.sizes[3]) continue;
                for (int64_t c = 0; c < x.sizes[1]; c++)
                  sum += from[x.at(n, c, iy, ix)] * w[weight.at(k, c, r, s)];
              }
            return sum;
          }));
  }
  void add(const Node& op) {
    const Tensor x(op.node(kOperationX)), b(op.node(kOperationB)), y(op.node(kOperationY));
    const auto &first = read(x), &second = read(b);
    write(y, each(y, [&](int64_t n, int64_t c, int64_t h, int64_t w) {
            return first[x.at(n, c, h, w)] + second[b.at(n, c, h, w)];
          }));
  }
};

// The sizes that a convolution's operands must have to go together.
bool fits(const Node& op) {
  const Tensor x(op.node(kForwardX)), w(op.node(kForwardW)), y(op.node(kForwardY));
  const Node& how = op.node(kForwardConvolution);
  const auto before = how.all<int64_t>(kPrePaddings), after = how.all<int64_t>(kPostPaddings),
             stride = how.all<int64_t>(kStrides);
  for (int i = 0; i < 2; i++)
    if ((x.sizes[2 + i] + before[i] + after[i] - w.sizes[2 + i]) / stride[i] + 1 != y.sizes[2 + i])
      return false;
  return x.sizes[1] == w.sizes[1] && w.sizes[0] == y.sizes[1] && x.sizes[0] == y.sizes[0];
}

struct Context {
  void* stream = nullptr;
};

}  // namespace

EXPORT Status cudnnCreate(Handle* handle) {
  if (fails("cudnnCreate")) return kExecutionFailed;
  *handle = new Context;
  return 0;
}
EXPORT Status cudnnDestroy(Handle handle) {
  delete static_cast<Context*>(handle);
  return 0;
}
EXPORT size_t cudnnGetVersion() {
  return 90000;
}
EXPORT Status cudnnSetStream(Handle handle, void* stream) {
  static_cast<Context*>(handle)->stream = stream;
  return 0;
}
EXPORT Status cudnnBackendCreateDescriptor(Kind kind, Descriptor* to) {
  if (fails("cudnnBackendCreateDescriptor")) return kBadParameter;
  *to = new Node{kind, false, {}};
  return 0;
}
EXPORT Status cudnnBackendDestroyDescriptor(Descriptor descriptor) {
  delete static_cast<Node*>(descriptor);
  return 0;
}
EXPORT Status cudnnBackendSetAttribute(Descriptor descriptor, Attribute attribute, Type type, int64_t count,
                                       const void* values) {
  auto& node = *static_cast<Node*>(descriptor);
  if (node.final || count < 1) return kBadParameter;
  const char* from = static_cast<const char*>(values);
  node.attributes[attribute] = {type, {from, from + bytes_of(type) * static_cast<size_t>(count)}};
  return 0;
}
EXPORT Status cudnnBackendFinalize(Descriptor descriptor) {
  auto& node = *static_cast<Node*>(descriptor);
  if (node.kind == kPlan && fails("cudnnBackendFinalize")) return kNotSupported;
  for (const Attribute attribute : required(node.kind))
    if (!node.has(attribute)) return kBadParameter;
  if (node.kind == kConvolutionForward && !fits(node)) return kBadParameter;
  // The first way of doing anything is none, so that the second is tried.
  if (node.kind == kPlan && !node.node(kPlanConfiguration).final) return kNotSupported;
  node.final = true;
  return 0;
}
EXPORT Status cudnnBackendGetAttribute(Descriptor descriptor, Attribute attribute, Type type, int64_t wanted,
                                       int64_t* count, void* values) {
  const auto& node = *static_cast<Node*>(descriptor);
  if (node.kind == kHeuristic && attribute == kHeuristicResults && type == kTypeDescriptor) {
    // Two ways; the first is not to be had.
    auto** ways = static_cast<Node**>(values);
    for (int64_t i = 0; i < wanted && i < 2; i++) {
      ways[i]->attributes[kHeuristicGraph] = node.attributes.at(kHeuristicGraph);
      ways[i]->final = i > 0;
    }
    *count = 2;
    return 0;
  }
  if (node.kind == kPlan && attribute == kPlanWorkspace && type == kTypeInt64) {
    *static_cast<int64_t*>(values) = kWorkspace;
    *count = 1;
    return 0;
  }
  return kBadParameter;
}
EXPORT Status cudnnBackendExecute(Handle handle, Descriptor plan, Descriptor pack) {
  if (fails("cudnnBackendExecute")) return kExecutionFailed;
  const auto& given = *static_cast<Node*>(pack);
  const auto ids = given.all<int64_t>(kPackIds);
  const auto pointers = given.all<void*>(kPackPointers);
  const auto workspace = given.one<char*>(kPackWorkspace);
  if (ids.size() != pointers.size()) return kBadParameter;
  Run run;
  for (size_t i = 0; i < ids.size(); i++) {
    if (reinterpret_cast<uintptr_t>(pointers[i]) % 16) return kBadParameter;
    run.pointers[ids[i]] = pointers[i];
  }
  const Node* graph = &static_cast<Node*>(plan)->node(kPlanConfiguration).node(kHeuristicGraph);
  static_cast<emulator::Stream*>(static_cast<Context*>(handle)->stream)->enqueue([=]() mutable {
    std::memset(workspace, 0xff, kWorkspace);
    run.memory.clear();
    for (Descriptor operation : graph->all<Descriptor>(kGraphOperations)) {
      const Node& node = *static_cast<Node*>(operation);
      node.kind == kConvolutionForward ? run.convolve(node) : run.add(node);
    }
  });
  return 0;
}
