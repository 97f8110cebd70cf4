// What is used of cuBLASLt's binary interface, which is the same in its versions 12 and 13: builds need no headers of
// its own. vendor_check.cc compares the numbers with the headers where these are found.
#pragma once

#include <cstddef>
#include <cstdint>

#include "library.h"

namespace latent_edge::gpu::cublaslt {

using Handle = void*;
using Description = void*;  // of a product, a matrix, or what is preferred
using Status = int;         // 0: all is well

enum Type : int { kFloat = 0, kHalf = 2, kBfloat16 = 14 };  // cudaDataType_t
enum Compute : int { kInFloat = 68 };                       // cublasComputeType_t
enum Operation : int32_t { kTransposed = 1 };               // cublasOperation_t
enum Epilogue : uint32_t { kBias = 4 };                     // cublasLtEpilogue_t
enum ProductAttribute : int { kTransA = 3, kEpilogue = 7, kBiasPointer = 8 };
enum PreferenceAttribute : int {
  kMaxWorkspace = 1,
  kAlignmentA = 5,
  kAlignmentB = 6,
  kAlignmentC = 7,
  kAlignmentD = 8
};

struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {  // cublasLtMatmulHeuristicResult_t
  Algorithm algorithm;
  size_t workspace;
  Status state;
  float waves;
  int reserved[4];
};

struct Functions {
  Library library;
  explicit Functions(const std::string& folder)
      : library(folder, {"libcublasLt.so.13", "libcublasLt.so.12"}) {}

  Status (*create)(Handle*) = library.function("cublasLtCreate");
  Status (*destroy)(Handle) = library.function("cublasLtDestroy");
  size_t (*version)() = library.function("cublasLtGetVersion");
  Status (*product_create)(Description*, Compute, Type) = library.function("cublasLtMatmulDescCreate");
  Status (*product_destroy)(Description) = library.function("cublasLtMatmulDescDestroy");
  Status (*product_set)(Description, ProductAttribute, const void*,
                        size_t) = library.function("cublasLtMatmulDescSetAttribute");
  Status (*matrix_create)(Description*, Type, uint64_t rows, uint64_t columns,
                          int64_t ld) = library.function("cublasLtMatrixLayoutCreate");
  Status (*matrix_destroy)(Description) = library.function("cublasLtMatrixLayoutDestroy");
  Status (*preference_create)(Description*) = library.function("cublasLtMatmulPreferenceCreate");
  Status (*preference_destroy)(Description) = library.function("cublasLtMatmulPreferenceDestroy");
  Status (*preference_set)(Description, PreferenceAttribute, const void*,
                           size_t) = library.function("cublasLtMatmulPreferenceSetAttribute");
  Status (*heuristic)(Handle, Description product, Description a, Description b, Description c, Description d,
                      Description preference, int wanted, Heuristic* results,
                      int* found) = library.function("cublasLtMatmulAlgoGetHeuristic");
  Status (*matmul)(Handle, Description product, const void* alpha, const void* a, Description a_layout,
                   const void* b, Description b_layout, const void* beta, const void* c, Description c_layout,
                   void* d, Description d_layout, const Algorithm*, void* workspace, size_t workspace_bytes,
                   void* stream) = library.function("cublasLtMatmul");
};

}  // namespace latent_edge::gpu::cublaslt
