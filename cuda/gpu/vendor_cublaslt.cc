// cuBLASLt: matrix products with bias and residual. Built where its header is, loaded at run time.
#include "vendors.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

#include "library.h"

namespace latent_edge::gpu {
namespace {

#define STRING(text) #text
#define TEXT(text) STRING(text)
#define FUNCTION(name) decltype(::name)* name = library.function<decltype(::name)>(#name)

struct Lt {
  Library library{"libcublasLt.so." TEXT(CUBLAS_VER_MAJOR)};
  FUNCTION(cublasLtCreate);
  FUNCTION(cublasLtDestroy);
  FUNCTION(cublasLtGetVersion);
  FUNCTION(cublasLtMatmul);
  FUNCTION(cublasLtMatmulAlgoGetHeuristic);
  FUNCTION(cublasLtMatmulDescCreate);
  FUNCTION(cublasLtMatmulDescDestroy);
  FUNCTION(cublasLtMatmulDescSetAttribute);
  FUNCTION(cublasLtMatmulPreferenceCreate);
  FUNCTION(cublasLtMatmulPreferenceDestroy);
  FUNCTION(cublasLtMatmulPreferenceSetAttribute);
  FUNCTION(cublasLtMatrixLayoutCreate);
  FUNCTION(cublasLtMatrixLayoutDestroy);
};

void check(cublasStatus_t status, const char* doing) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw std::runtime_error(std::string("cuBLASLt, ") + doing + ": status " + std::to_string(status));
}

constexpr size_t kWorkspace = size_t{32} << 20;

// Column-major, as the library has it: yᵀ [columns, rows] = W·xᵀ.
struct Matmul {
  Lt& lt;
  cublasLtMatmulDesc_t what = nullptr;
  cublasLtMatrixLayout_t weight = nullptr, x = nullptr, y = nullptr;
  cublasLtMatmulHeuristicResult_t way{};
  std::shared_ptr<void> bias;

  explicit Matmul(Lt& lt) : lt(lt) {}
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;
  ~Matmul() {
    for (cublasLtMatrixLayout_t layout : {weight, x, y})
      if (layout) lt.cublasLtMatrixLayoutDestroy(layout);
    if (what) lt.cublasLtMatmulDescDestroy(what);
  }

  template <class V>
  void set(cublasLtMatmulDescAttributes_t attribute, const V& value) {
    check(lt.cublasLtMatmulDescSetAttribute(what, attribute, &value, sizeof value), "describing a product");
  }

  // Whether the library has a way to do it.
  bool choose() {
    cublasLtMatmulPreference_t preference = nullptr;
    check(lt.cublasLtMatmulPreferenceCreate(&preference), "choosing a way");
    int found = 0;
    lt.cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspace,
                                            sizeof kWorkspace);
    const cublasStatus_t status =
        lt.cublasLtMatmulAlgoGetHeuristic(lt_handle, what, weight, x, y, y, preference, 1, &way, &found);
    lt.cublasLtMatmulPreferenceDestroy(preference);
    return status == CUBLAS_STATUS_SUCCESS && found > 0 && way.state == CUBLAS_STATUS_SUCCESS;
  }
  cublasLtHandle_t lt_handle = nullptr;
};

class CublasLt final : public Provider {
 public:
  explicit CublasLt(Runtime& runtime) : runtime_(runtime) {
    if (lt_.library && lt_.cublasLtCreate(&handle_) == CUBLAS_STATUS_SUCCESS)
      name_ = "cublaslt " + std::to_string(lt_.cublasLtGetVersion());
  }
  ~CublasLt() override {
    if (handle_) lt_.cublasLtDestroy(handle_);
  }
  bool usable() const { return handle_ != nullptr; }
  const std::string& name() const override { return name_; }

  std::optional<Step> take(const Work& work, const Own& own) override {
    if (work.convolution || work.channels % 8 || work.columns % 8) return std::nullopt;
    const cudaDataType_t type = work.storage == Storage::bf16 ? CUDA_R_16BF : CUDA_R_16F;
    auto matmul = std::make_shared<Matmul>(lt_);
    matmul->lt_handle = handle_;
    check(lt_.cublasLtMatmulDescCreate(&matmul->what, CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "describing a product");
    matmul->set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    if (work.bias) {
      matmul->bias = own(2 * static_cast<size_t>(work.columns));
      convert(runtime_.stream(), work.bias, Scalar::f32, matmul->bias.get(), scalar_of(work.storage),
              static_cast<size_t>(work.columns));
      const void* bias = matmul->bias.get();
      matmul->set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      matmul->set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    }
    const auto layout = [&](cublasLtMatrixLayout_t& to, int64_t rows, int64_t columns) {
      check(lt_.cublasLtMatrixLayoutCreate(&to, type, static_cast<uint64_t>(rows),
                                           static_cast<uint64_t>(columns), rows),
            "describing a matrix");
    };
    layout(matmul->weight, work.channels, work.columns);
    layout(matmul->x, work.channels, work.rows);
    layout(matmul->y, work.columns, work.rows);
    if (!matmul->choose()) return std::nullopt;
    const auto run = [matmul, work, handle = handle_](Stream stream, char* scratch) {
      const float one = 1, beta = work.residual ? 1 : 0;
      check(matmul->lt.cublasLtMatmul(handle, matmul->what, &one, work.weight, matmul->weight, work.x,
                                      matmul->x, &beta, work.residual ? work.residual : work.y, matmul->y,
                                      work.y, matmul->y, &matmul->way.algo, scratch,
                                      matmul->way.workspaceSize, reinterpret_cast<cudaStream_t>(stream)),
            "a product");
    };
    return Step{run, matmul->way.workspaceSize};
  }

 private:
  Runtime& runtime_;
  Lt lt_;
  cublasLtHandle_t handle_ = nullptr;
  std::string name_;
};

}  // namespace

std::unique_ptr<Provider> open_cublaslt(Runtime& runtime) {
  auto provider = std::make_unique<CublasLt>(runtime);
  if (!provider->usable()) return nullptr;
  return provider;
}

}  // namespace latent_edge::gpu

#else

namespace latent_edge::gpu {
std::unique_ptr<Provider> open_cublaslt(Runtime&) {
  return nullptr;
}
}  // namespace latent_edge::gpu

#endif
