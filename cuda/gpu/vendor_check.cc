// Where the vendors' headers are found, what we know of their libraries' binary interfaces is compared with them.
// CPATH=/path/to/include adds a place to look.
#include "abi_cublaslt.h"
#include "abi_cudnn.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

namespace latent_edge::gpu::cublaslt {
static_assert(+kFloat == CUDA_R_32F && +kHalf == CUDA_R_16F && +kBfloat16 == CUDA_R_16BF);
static_assert(+kInFloat == CUBLAS_COMPUTE_32F && +kTransposed == CUBLAS_OP_T);
static_assert(+kBias == CUBLASLT_EPILOGUE_BIAS);
static_assert(+kTransA == CUBLASLT_MATMUL_DESC_TRANSA && +kEpilogue == CUBLASLT_MATMUL_DESC_EPILOGUE &&
              +kBiasPointer == CUBLASLT_MATMUL_DESC_BIAS_POINTER);
static_assert(+kMaxWorkspace == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES &&
              +kAlignmentA == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES &&
              +kAlignmentB == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES &&
              +kAlignmentC == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES &&
              +kAlignmentD == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
static_assert(sizeof(Algorithm) == sizeof(cublasLtMatmulAlgo_t) &&
              sizeof(Heuristic) == sizeof(cublasLtMatmulHeuristicResult_t) &&
              offsetof(Heuristic, workspace) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize) &&
              offsetof(Heuristic, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));
static_assert(sizeof(Status) == sizeof(cublasStatus_t) && CUBLAS_STATUS_SUCCESS == 0);
}  // namespace latent_edge::gpu::cublaslt
#endif

#if __has_include(<cudnn.h>)
#include <cudnn.h>

namespace latent_edge::gpu::cudnn {
static_assert(CUDNN_MAJOR == 9);
static_assert(+kFloat == CUDNN_DATA_FLOAT && +kHalf == CUDNN_DATA_HALF && +kBfloat16 == CUDNN_DATA_BFLOAT16);
static_assert(+kCrossCorrelation == CUDNN_CROSS_CORRELATION && +kAdd == CUDNN_POINTWISE_ADD);
static_assert(+kFallback == CUDNN_HEUR_MODE_FALLBACK && +kModeA == CUDNN_HEUR_MODE_A);
static_assert(+kPointwise == CUDNN_BACKEND_POINTWISE_DESCRIPTOR &&
              +kConvolution == CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR &&
              +kConfiguration == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR &&
              +kHeuristic == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR &&
              +kPlan == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR &&
              +kConvolutionForward == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR &&
              +kPointwiseOperation == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR &&
              +kGraph == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR &&
              +kVariantPack == CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR &&
              +kTensor == CUDNN_BACKEND_TENSOR_DESCRIPTOR);
static_assert(+kTypeHandle == CUDNN_TYPE_HANDLE && +kTypeDataType == CUDNN_TYPE_DATA_TYPE &&
              +kTypeBoolean == CUDNN_TYPE_BOOLEAN && +kTypeInt64 == CUDNN_TYPE_INT64 &&
              +kTypeFloat == CUDNN_TYPE_FLOAT && +kTypePointer == CUDNN_TYPE_VOID_PTR &&
              +kTypeConvolutionMode == CUDNN_TYPE_CONVOLUTION_MODE &&
              +kTypeHeuristicMode == CUDNN_TYPE_HEUR_MODE &&
              +kTypePointwiseMode == CUDNN_TYPE_POINTWISE_MODE &&
              +kTypeDescriptor == CUDNN_TYPE_BACKEND_DESCRIPTOR);
static_assert(+kPointwiseMode == CUDNN_ATTR_POINTWISE_MODE &&
              +kPointwisePrecision == CUDNN_ATTR_POINTWISE_MATH_PREC &&
              +kConvolutionPrecision == CUDNN_ATTR_CONVOLUTION_COMP_TYPE &&
              +kConvolutionMode == CUDNN_ATTR_CONVOLUTION_CONV_MODE &&
              +kDilations == CUDNN_ATTR_CONVOLUTION_DILATIONS &&
              +kStrides == CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES &&
              +kPostPaddings == CUDNN_ATTR_CONVOLUTION_POST_PADDINGS &&
              +kPrePaddings == CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS &&
              +kSpatialDims == CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS);
static_assert(+kHeuristicMode == CUDNN_ATTR_ENGINEHEUR_MODE &&
              +kHeuristicGraph == CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH &&
              +kHeuristicResults == CUDNN_ATTR_ENGINEHEUR_RESULTS &&
              +kPlanHandle == CUDNN_ATTR_EXECUTION_PLAN_HANDLE &&
              +kPlanConfiguration == CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG &&
              +kPlanWorkspace == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
static_assert(+kForwardAlpha == CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA &&
              +kForwardBeta == CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA &&
              +kForwardConvolution == CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC &&
              +kForwardW == CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W &&
              +kForwardX == CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X &&
              +kForwardY == CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y);
static_assert(+kOperationPointwise == CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR &&
              +kOperationX == CUDNN_ATTR_OPERATION_POINTWISE_XDESC &&
              +kOperationB == CUDNN_ATTR_OPERATION_POINTWISE_BDESC &&
              +kOperationY == CUDNN_ATTR_OPERATION_POINTWISE_YDESC &&
              +kGraphHandle == CUDNN_ATTR_OPERATIONGRAPH_HANDLE &&
              +kGraphOperations == CUDNN_ATTR_OPERATIONGRAPH_OPS);
static_assert(+kTensorAlignment == CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT &&
              +kTensorType == CUDNN_ATTR_TENSOR_DATA_TYPE &&
              +kTensorDimensions == CUDNN_ATTR_TENSOR_DIMENSIONS &&
              +kTensorStrides == CUDNN_ATTR_TENSOR_STRIDES && +kTensorId == CUDNN_ATTR_TENSOR_UNIQUE_ID &&
              +kTensorIsVirtual == CUDNN_ATTR_TENSOR_IS_VIRTUAL &&
              +kPackIds == CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS &&
              +kPackPointers == CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS &&
              +kPackWorkspace == CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
static_assert(sizeof(Status) == sizeof(cudnnStatus_t) && CUDNN_STATUS_SUCCESS == 0);
}  // namespace latent_edge::gpu::cudnn
#endif
