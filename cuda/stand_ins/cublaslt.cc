// A stand-in of cuBLASLt for the emulator: the functions of abi_cublaslt.h, a product as plain loops. It minds what the
// real one does: column-major matrices, addresses no less aligned than it was told, the workspace that it asked for.
#include <cstring>
#include <map>
#include <vector>

#include "../emulator/half.h"
#include "../emulator/stream.h"
#include "../gpu/abi_cublaslt.h"
#include "failing.h"

using namespace latent_edge;
using namespace latent_edge::gpu::cublaslt;

namespace {

constexpr Status kInvalid = 7, kInternal = 14;
constexpr size_t kWorkspace = 1024;

struct Product {
  int32_t transposed = 0;
  uint32_t epilogue = 1;
  const void* bias = nullptr;
};
struct Matrix {
  Type type;
  uint64_t rows, columns;
  int64_t ld;
};
struct Preference {
  uint64_t workspace = 0;
  std::map<int, uint32_t> alignment;
};

float value(const void* data, Type type, size_t i) {
  if (type == kFloat) return static_cast<const float*>(data)[i];
  if (type == kHalf) return gpu::to_float(static_cast<const gpu::f16*>(data)[i]);
  return gpu::to_float(static_cast<const gpu::bf16*>(data)[i]);
}
void assign(void* data, Type type, size_t i, float v) {
  if (type == kFloat)
    static_cast<float*>(data)[i] = v;
  else if (type == kHalf)
    static_cast<gpu::f16*>(data)[i] = gpu::from_float<gpu::f16>(v);
  else
    static_cast<gpu::bf16*>(data)[i] = gpu::from_float<gpu::bf16>(v);
}

bool is_aligned(const void* p, uint64_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % bytes == 0;
}

}  // namespace

EXPORT Status cublasLtCreate(Handle* handle) {
  if (fails("cublasLtCreate")) return kInternal;
  *handle = new int(0);
  return 0;
}
EXPORT Status cublasLtDestroy(Handle handle) {
  delete static_cast<int*>(handle);
  return 0;
}
EXPORT size_t cublasLtGetVersion() {
  return 1;
}
EXPORT Status cublasLtMatmulDescCreate(Description* to, Compute compute, Type scale) {
  if (compute != kInFloat || scale != kFloat || fails("cublasLtMatmulDescCreate")) return kInvalid;
  *to = new Product;
  return 0;
}
EXPORT Status cublasLtMatmulDescDestroy(Description product) {
  delete static_cast<Product*>(product);
  return 0;
}
EXPORT Status cublasLtMatmulDescSetAttribute(Description product, ProductAttribute attribute,
                                             const void* value, size_t bytes) {
  auto& p = *static_cast<Product*>(product);
  const auto take = [&](auto& to) {
    if (bytes != sizeof to) return kInvalid;
    std::memcpy(&to, value, bytes);
    return Status{0};
  };
  return attribute == kTransA        ? take(p.transposed)
         : attribute == kEpilogue    ? take(p.epilogue)
         : attribute == kBiasPointer ? take(p.bias)
                                     : kInvalid;
}
EXPORT Status cublasLtMatrixLayoutCreate(Description* to, Type type, uint64_t rows, uint64_t columns,
                                         int64_t ld) {
  *to = new Matrix{type, rows, columns, ld};
  return 0;
}
EXPORT Status cublasLtMatrixLayoutDestroy(Description matrix) {
  delete static_cast<Matrix*>(matrix);
  return 0;
}
EXPORT Status cublasLtMatmulPreferenceCreate(Description* to) {
  *to = new Preference;
  return 0;
}
EXPORT Status cublasLtMatmulPreferenceDestroy(Description preference) {
  delete static_cast<Preference*>(preference);
  return 0;
}
EXPORT Status cublasLtMatmulPreferenceSetAttribute(Description preference, PreferenceAttribute attribute,
                                                   const void* value, size_t bytes) {
  auto& p = *static_cast<Preference*>(preference);
  if (bytes != (attribute == kMaxWorkspace ? 8u : 4u)) return kInvalid;
  std::memcpy(attribute == kMaxWorkspace ? static_cast<void*>(&p.workspace) : &p.alignment[attribute], value,
              bytes);
  return 0;
}

// The algorithm keeps what alignment it counts on; 256 where nothing was said.
EXPORT Status cublasLtMatmulAlgoGetHeuristic(Handle, Description, Description, Description, Description,
                                             Description, Description preference, int wanted,
                                             Heuristic* results, int* found) {
  const auto& p = *static_cast<Preference*>(preference);
  *found = 0;
  if (wanted < 1 || p.workspace < kWorkspace || fails("cublasLtMatmulAlgoGetHeuristic")) return kInvalid;
  Heuristic& result = results[0];
  result = {};
  result.workspace = kWorkspace;
  for (int i = 0; i < 4; i++) {
    const auto told = p.alignment.find(kAlignmentA + i);
    result.algorithm.data[i] = told == p.alignment.end() ? 256 : told->second;
  }
  *found = 1;
  return 0;
}

EXPORT Status cublasLtMatmul(Handle, Description product, const void* alpha, const void* a,
                             Description a_layout, const void* b, Description b_layout, const void* beta,
                             const void* c, Description c_layout, void* d, Description d_layout,
                             const Algorithm* algorithm, void* workspace, size_t workspace_bytes,
                             void* stream) {
  if (fails("cublasLtMatmul")) return kInternal;
  const Product p = *static_cast<Product*>(product);
  const Matrix left = *static_cast<Matrix*>(a_layout), right = *static_cast<Matrix*>(b_layout),
               before = *static_cast<Matrix*>(c_layout), to = *static_cast<Matrix*>(d_layout);
  const float scale = *static_cast<const float*>(alpha), more = *static_cast<const float*>(beta);
  const void* const addresses[] = {a, b, c, d};
  for (int i = 0; i < 4; i++)
    if (!is_aligned(addresses[i], algorithm->data[i])) return kInvalid;
  if (p.transposed != kTransposed || left.rows != right.rows || to.rows != left.columns ||
      to.columns != right.columns || workspace_bytes < kWorkspace || !is_aligned(workspace, 256))
    return kInvalid;
  static_cast<emulator::Stream*>(stream)->enqueue([=] {
    std::memset(workspace, 0xff, kWorkspace);
    for (uint64_t n = 0; n < to.columns; n++)
      for (uint64_t m = 0; m < to.rows; m++) {
        float sum = 0;
        for (uint64_t k = 0; k < left.rows; k++)
          sum += value(a, left.type, m * left.ld + k) * value(b, right.type, n * right.ld + k);
        sum *= scale;
        if (more != 0) sum += more * value(c, before.type, n * before.ld + m);
        if (p.epilogue == kBias) sum += value(p.bias, to.type, m);
        assign(d, to.type, n * to.ld + m, sum);
      }
  });
  return 0;
}
