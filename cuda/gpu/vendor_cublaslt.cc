// cuBLASLt: matrix products, with bias and residual or as bare sums.
#include <cstdint>

#include "abi_cublaslt.h"
#include "vendors.h"

namespace latent_edge::gpu {
namespace {

using namespace cublaslt;

void check(Status status, const char* doing) {
  if (status != 0)
    throw std::runtime_error(std::string("cuBLASLt, ") + doing + ": status " + std::to_string(status));
}

// The power of two that an address is a multiple of, as far as the library cares.
uint32_t alignment_of(const void* p) {
  uint32_t bytes = 256;
  while (reinterpret_cast<uintptr_t>(p) % bytes) bytes /= 2;
  return bytes;
}

// Column-major, as the library has it: yᵀ [columns, rows] = W·xᵀ.
struct Matmul {
  const Functions& lt;
  Description what = nullptr, weight = nullptr, x = nullptr, y = nullptr;
  Heuristic way{};
  std::shared_ptr<void> bias;

  explicit Matmul(const Functions& lt) : lt(lt) {}
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;
  ~Matmul() {
    for (Description layout : {weight, x, y})
      if (layout) lt.matrix_destroy(layout);
    if (what) lt.product_destroy(what);
  }

  template <class V>
  void set(ProductAttribute attribute, const V& value) {
    check(lt.product_set(what, attribute, &value, sizeof value), "describing a product");
  }

  void describe(const Work& work) {
    const Type type = work.storage == Storage::bf16 ? kBfloat16 : kHalf;
    check(lt.product_create(&what, kInFloat, kFloat), "describing a product");
    set(kTransA, kTransposed);
    if (bias) {
      set(kEpilogue, kBias);
      set(kBiasPointer, static_cast<const void*>(bias.get()));
    }
    const auto layout = [&](Description& to, Type of, int64_t rows, int64_t columns) {
      check(lt.matrix_create(&to, of, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), rows),
            "describing a matrix");
    };
    layout(weight, type, work.channels, work.columns);
    layout(x, type, work.channels, work.rows);
    layout(y, work.finish ? kFloat : type, work.columns, work.rows);
  }

  // Whether the library has a way to do it. Unless told otherwise it counts on addresses that are multiples of 256.
  bool choose(Handle handle, const Work& work) {
    constexpr uint64_t kWorkspace = uint64_t{32} << 20;
    const uint32_t at_y = work.finish ? 256 : alignment_of(work.y);
    Description preference = nullptr;
    check(lt.preference_create(&preference), "choosing a way");
    Status status = lt.preference_set(preference, kMaxWorkspace, &kWorkspace, sizeof kWorkspace);
    for (const auto& [attribute, bytes] :
         {std::pair{kAlignmentA, alignment_of(work.weight)}, std::pair{kAlignmentB, alignment_of(work.x)},
          std::pair{kAlignmentC, work.residual ? alignment_of(work.residual) : at_y},
          std::pair{kAlignmentD, at_y}})
      if (status == 0) status = lt.preference_set(preference, attribute, &bytes, sizeof bytes);
    int found = 0;
    if (status == 0) status = lt.heuristic(handle, what, weight, x, y, y, preference, 1, &way, &found);
    lt.preference_destroy(preference);
    return status == 0 && found > 0 && way.state == 0;
  }
};

class CublasLt final : public Provider {
 public:
  CublasLt(Runtime& runtime, const std::string& folder) : runtime_(runtime), lt_(folder) {
    if (lt_.library && lt_.create(&handle_) == 0) name_ = "cublaslt " + std::to_string(lt_.version());
  }
  ~CublasLt() override {
    if (handle_) lt_.destroy(handle_);
  }
  const std::string& name() const override { return name_; }

  std::optional<Step> take(const Work& work, const Own& own) override {
    if (work.convolution || work.channels % 8 || work.columns % 8) return std::nullopt;
    auto matmul = std::make_shared<Matmul>(lt_);
    if (work.bias) matmul->bias = rounded_bias(runtime_, work, own);
    matmul->describe(work);
    if (!matmul->choose(handle_, work)) return std::nullopt;
    const auto run = [matmul, work, handle = handle_](Stream stream, char* scratch) {
      const Matmul& m = *matmul;
      const float one = 1, beta = work.residual ? 1 : 0;
      void* const y = work.output(scratch);
      check(m.lt.matmul(handle, m.what, &one, work.weight, m.weight, work.x, m.x, &beta,
                        work.residual ? work.residual : y, m.y, y, m.y, &m.way.algorithm,
                        scratch + work.sums_bytes(), m.way.workspace, stream),
            "a product");
    };
    return Step{run, work.sums_bytes() + matmul->way.workspace};
  }

 private:
  Runtime& runtime_;
  const Functions lt_;
  Handle handle_ = nullptr;
  std::string name_;
};

}  // namespace

std::unique_ptr<Provider> open_cublaslt(Runtime& runtime, const std::string& folder) {
  auto provider = std::make_unique<CublasLt>(runtime, folder);
  return provider->name().empty() ? nullptr : std::move(provider);
}

}  // namespace latent_edge::gpu
