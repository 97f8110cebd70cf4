// What is used of cuDNN's binary interface, of its version 9: the part that computes graphs of operations, which
// replaces the functions for single ones. Builds need no headers of its own; vendor_check.cc compares the numbers with
// them where they are found.
#pragma once

#include <cstddef>
#include <cstdint>

#include "library.h"

namespace latent_edge::gpu::cudnn {

using Handle = void*;
using Descriptor = void*;
using Status = int;  // 0: all is well

enum DataType : int { kFloat = 0, kHalf = 2, kBfloat16 = 9 };
enum ConvolutionMode : int { kCrossCorrelation = 1 };
enum PointwiseMode : int { kAdd = 0 };
enum HeuristicMode : int { kFallback = 2, kModeA = 3 };

// Of descriptors.
enum Kind : int {
  kPointwise = 0,
  kConvolution = 1,
  kConfiguration = 3,
  kHeuristic = 4,
  kPlan = 5,
  kConvolutionForward = 10,
  kPointwiseOperation = 13,
  kGraph = 15,
  kVariantPack = 16,
  kTensor = 17
};
// Of attributes' values.
enum Type : int {
  kTypeHandle = 0,
  kTypeDataType = 1,
  kTypeBoolean = 2,
  kTypeInt64 = 3,
  kTypeFloat = 4,
  kTypePointer = 6,
  kTypeConvolutionMode = 7,
  kTypeHeuristicMode = 8,
  kTypePointwiseMode = 14,
  kTypeDescriptor = 15
};
enum Attribute : int {
  kPointwiseMode = 0,
  kPointwisePrecision = 1,
  kConvolutionPrecision = 100,
  kConvolutionMode = 101,
  kDilations = 102,
  kStrides = 103,
  kPostPaddings = 104,
  kPrePaddings = 105,
  kSpatialDims = 106,
  kHeuristicMode = 200,
  kHeuristicGraph = 201,
  kHeuristicResults = 202,
  kPlanHandle = 400,
  kPlanConfiguration = 401,
  kPlanWorkspace = 402,
  kForwardAlpha = 700,
  kForwardBeta = 701,
  kForwardConvolution = 702,
  kForwardW = 703,
  kForwardX = 704,
  kForwardY = 705,
  kOperationPointwise = 750,
  kOperationX = 751,
  kOperationB = 752,
  kOperationY = 753,
  kGraphHandle = 800,
  kGraphOperations = 801,
  kTensorAlignment = 900,
  kTensorType = 901,
  kTensorDimensions = 902,
  kTensorStrides = 903,
  kTensorId = 906,
  kTensorIsVirtual = 907,
  kPackIds = 1000,
  kPackPointers = 1001,
  kPackWorkspace = 1003
};

struct Functions {
  Library library;
  explicit Functions(const std::string& folder) : library(folder, {"libcudnn.so.9"}) {}

  Status (*create)(Handle*) = library.function("cudnnCreate");
  Status (*destroy)(Handle) = library.function("cudnnDestroy");
  size_t (*version)() = library.function("cudnnGetVersion");
  Status (*set_stream)(Handle, void* stream) = library.function("cudnnSetStream");
  Status (*descriptor_create)(Kind, Descriptor*) = library.function("cudnnBackendCreateDescriptor");
  Status (*descriptor_destroy)(Descriptor) = library.function("cudnnBackendDestroyDescriptor");
  Status (*set)(Descriptor, Attribute, Type, int64_t count,
                const void* values) = library.function("cudnnBackendSetAttribute");
  Status (*get)(Descriptor, Attribute, Type, int64_t wanted, int64_t* count,
                void* values) = library.function("cudnnBackendGetAttribute");
  Status (*finalize)(Descriptor) = library.function("cudnnBackendFinalize");
  Status (*execute)(Handle, Descriptor plan, Descriptor pack) = library.function("cudnnBackendExecute");
};

}  // namespace latent_edge::gpu::cudnn
