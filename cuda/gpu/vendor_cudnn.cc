// cuDNN: convolutions, with bias and residual or as bare sums, each as a graph of operations:
//   conv(x, w) → + bias → + residual → y; what lies between is float32 and in no memory
#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <utility>

#include "abi_cudnn.h"
#include "vendors.h"

namespace latent_edge::gpu {
namespace {

using namespace cudnn;

void check(Status status, const char* doing) {
  if (status != 0)
    throw std::runtime_error(std::string("cuDNN, ") + doing + ": status " + std::to_string(status));
}

// Where memory for a step is worth it at all.
constexpr int64_t kMostWorkspace = int64_t{1} << 30;

class Owned {
 public:
  Owned(const Functions& dnn, Kind kind) : dnn_(dnn) {
    check(dnn.descriptor_create(kind, &descriptor_), "making a descriptor");
  }
  ~Owned() {
    if (descriptor_) dnn_.descriptor_destroy(descriptor_);
  }
  Owned(Owned&& other) noexcept : dnn_(other.dnn_), descriptor_(std::exchange(other.descriptor_, nullptr)) {}

  Descriptor get() const { return descriptor_; }
  template <class V>
  Owned& set(Attribute attribute, Type type, const V& value) {
    return set(attribute, type, &value, 1);
  }
  template <class V>
  Owned& set(Attribute attribute, Type type, const V* values, size_t count) {
    check(dnn_.set(descriptor_, attribute, type, static_cast<int64_t>(count), values), "describing");
    return *this;
  }
  template <size_t N>
  Owned& set(Attribute attribute, const std::array<int64_t, N>& values) {
    return set(attribute, kTypeInt64, values.data(), N);
  }
  Status finish() { return dnn_.finalize(descriptor_); }

 private:
  const Functions& dnn_;
  Descriptor descriptor_ = nullptr;
};

// Descriptors refer to each other; all live as long as the plan.
class Convolution {
 public:
  Convolution(const Functions& dnn, Handle handle) : dnn_(dnn), handle_(handle) {}

  // Whether the library has a way to do it.
  bool plan(const Work& work) {
    const DataType storage = work.storage == Storage::bf16 ? kBfloat16 : kHalf;
    const Sizes out{work.images, work.columns, work.out_height, work.out_width};
    // The last sum of these is y.
    const int sums = 1 + (work.bias != nullptr) + (work.residual != nullptr);
    int done = 0;
    const auto result = [&] {
      const bool last = ++done == sums;
      return tensor(out, last && !work.finish ? storage : kFloat, last ? kY : kBetween + done, !last);
    };
    std::vector<Descriptor> operations;
    Descriptor y = result();
    operations.push_back(
        convolve(work, tensor({work.images, work.channels, work.height, work.width}, storage, kX),
                 tensor({work.columns, work.channels, work.kh, work.kw}, storage, kWeight), y));
    const auto plus = [&](Descriptor other) {
      const Descriptor before = std::exchange(y, result());
      operations.push_back(add(before, other, y));
    };
    if (work.bias) plus(tensor({1, work.columns, 1, 1}, kFloat, kBias));
    if (work.residual) plus(tensor(out, storage, kResidual));

    Owned& graph = make(kGraph);
    graph.set(kGraphHandle, kTypeHandle, handle_);
    graph.set(kGraphOperations, kTypeDescriptor, operations.data(), operations.size());
    if (graph.finish() != 0) return false;
    return choose(graph.get(), kModeA) || choose(graph.get(), kFallback);
  }

  size_t workspace() const { return static_cast<size_t>(workspace_); }

  void run(const Work& work, char* scratch) const {
    std::vector<int64_t> ids = {kX, kWeight, kY};
    std::vector<const void*> pointers = {work.x, work.weight, work.output(scratch)};
    if (work.bias) ids.push_back(kBias), pointers.push_back(work.bias);
    if (work.residual) ids.push_back(kResidual), pointers.push_back(work.residual);
    void* const space = scratch + work.sums_bytes();
    Owned pack(dnn_, kVariantPack);
    pack.set(kPackIds, kTypeInt64, ids.data(), ids.size())
        .set(kPackPointers, kTypePointer, pointers.data(), pointers.size())
        .set(kPackWorkspace, kTypePointer, space);
    check(pack.finish(), "describing memory");
    check(dnn_.execute(handle_, plan_, pack.get()), "a convolution");
  }

 private:
  using Sizes = std::array<int64_t, 4>;  // N, C, H, W, which lie in memory as N, H, W, C
  enum Id : int64_t { kX = 1, kWeight, kY, kBias, kResidual, kBetween };

  Owned& make(Kind kind) { return owned_.emplace_back(dnn_, kind); }
  Descriptor finished(Owned& descriptor) {
    check(descriptor.finish(), "describing");
    return descriptor.get();
  }

  Descriptor tensor(const Sizes& sizes, DataType type, int64_t id, bool is_virtual = false) {
    const auto [n, c, h, w] = sizes;
    return finished(make(kTensor)
                        .set(kTensorType, kTypeDataType, type)
                        .set(kTensorDimensions, sizes)
                        .set(kTensorStrides, Sizes{h * w * c, 1, w * c, c})
                        .set(kTensorId, kTypeInt64, id)
                        .set(kTensorAlignment, kTypeInt64, int64_t{16})
                        .set(kTensorIsVirtual, kTypeBoolean, is_virtual));
  }

  Descriptor convolve(const Work& work, Descriptor x, Descriptor weight, Descriptor y) {
    using Pair = std::array<int64_t, 2>;
    // What the last window reaches over the edge; pixels that no window reaches are no padding.
    const auto after = [&](int in, int out, int kernel, int before) {
      return std::max(0, (out - 1) * work.stride + kernel - in - before);
    };
    const Descriptor window =
        finished(make(kConvolution)
                     .set(kConvolutionPrecision, kTypeDataType, DataType{kFloat})
                     .set(kConvolutionMode, kTypeConvolutionMode, kCrossCorrelation)
                     .set(kSpatialDims, kTypeInt64, int64_t{2})
                     .set(kDilations, Pair{1, 1})
                     .set(kStrides, Pair{work.stride, work.stride})
                     .set(kPrePaddings, Pair{work.top, work.left})
                     .set(kPostPaddings, Pair{after(work.height, work.out_height, work.kh, work.top),
                                              after(work.width, work.out_width, work.kw, work.left)}));
    return finished(make(kConvolutionForward)
                        .set(kForwardConvolution, kTypeDescriptor, window)
                        .set(kForwardX, kTypeDescriptor, x)
                        .set(kForwardW, kTypeDescriptor, weight)
                        .set(kForwardY, kTypeDescriptor, y)
                        .set(kForwardAlpha, kTypeFloat, 1.0f)
                        .set(kForwardBeta, kTypeFloat, 0.0f));
  }

  Descriptor add(Descriptor x, Descriptor other, Descriptor y) {
    const Descriptor how = finished(make(kPointwise)
                                        .set(kPointwiseMode, kTypePointwiseMode, kAdd)
                                        .set(kPointwisePrecision, kTypeDataType, DataType{kFloat}));
    return finished(make(kPointwiseOperation)
                        .set(kOperationPointwise, kTypeDescriptor, how)
                        .set(kOperationX, kTypeDescriptor, x)
                        .set(kOperationB, kTypeDescriptor, other)
                        .set(kOperationY, kTypeDescriptor, y));
  }

  // The first of the ways that the library advises which there is a plan for.
  bool choose(Descriptor graph, HeuristicMode mode) {
    Owned& heuristic = make(kHeuristic);
    heuristic.set(kHeuristicGraph, kTypeDescriptor, graph).set(kHeuristicMode, kTypeHeuristicMode, mode);
    if (heuristic.finish() != 0) return false;
    constexpr int64_t kMost = 8;
    std::vector<Descriptor> ways;
    while (ways.size() < kMost) ways.push_back(make(kConfiguration).get());
    int64_t count = 0;
    if (dnn_.get(heuristic.get(), kHeuristicResults, kTypeDescriptor, kMost, &count, ways.data()) != 0)
      return false;
    for (int64_t i = 0; i < std::min(count, kMost); i++) {
      Owned plan(dnn_, kPlan);
      plan.set(kPlanHandle, kTypeHandle, handle_).set(kPlanConfiguration, kTypeDescriptor, ways[i]);
      int64_t one = 0;
      if (plan.finish() != 0 || dnn_.get(plan.get(), kPlanWorkspace, kTypeInt64, 1, &one, &workspace_) != 0 ||
          workspace_ > kMostWorkspace)
        continue;
      plan_ = owned_.emplace_back(std::move(plan)).get();
      return true;
    }
    return false;
  }

  const Functions& dnn_;
  const Handle handle_;
  std::deque<Owned> owned_;
  Descriptor plan_ = nullptr;
  int64_t workspace_ = 0;
};

class Cudnn final : public Provider {
 public:
  Cudnn(Runtime& runtime, const std::string& folder) : dnn_(folder) {
    if (!dnn_.library || dnn_.create(&handle_) != 0) return;
    check(dnn_.set_stream(handle_, runtime.stream()), "taking the stream");
    name_ = "cudnn " + std::to_string(dnn_.version());
  }
  ~Cudnn() override {
    plans_.clear();
    if (handle_) dnn_.destroy(handle_);
  }
  const std::string& name() const override { return name_; }

  std::optional<Step> take(const Work& work, const Own&) override {
    if (!work.convolution || work.channels % 8 || work.columns % 8) return std::nullopt;
    // To make a plan can mean to compile kernels; it is of a shape, whatever memory it runs on.
    const auto [at, is_new] = plans_.try_emplace(work.shape());
    if (is_new) {
      auto made = std::make_shared<Convolution>(dnn_, handle_);
      if (made->plan(work)) at->second = std::move(made);
    }
    const std::shared_ptr<const Convolution> convolution = at->second;
    if (!convolution) return std::nullopt;
    const auto run = [convolution, work](Stream, char* scratch) { convolution->run(work, scratch); };
    return Step{run, work.sums_bytes() + convolution->workspace()};
  }

 private:
  const Functions dnn_;
  Handle handle_ = nullptr;
  std::string name_;
  std::map<std::string, std::shared_ptr<const Convolution>> plans_;  // by shape; nullptr: there is no way
};

}  // namespace

std::unique_ptr<Provider> open_cudnn(Runtime& runtime, const std::string& folder) {
  auto provider = std::make_unique<Cudnn>(runtime, folder);
  return provider->name().empty() ? nullptr : std::move(provider);
}

}  // namespace latent_edge::gpu
