// cuDNN: convolutions with bias and residual. Built where its header is, loaded at run time.
#include "vendors.h"

#if __has_include(<cudnn.h>)
#include <cudnn.h>

#include "library.h"

namespace latent_edge::gpu {
namespace {

#define STRING(text) #text
#define TEXT(text) STRING(text)
#define FUNCTION(name) decltype(::name)* name = library.function<decltype(::name)>(#name)

struct Dnn {
  Library library{"libcudnn.so." TEXT(CUDNN_MAJOR)};
  FUNCTION(cudnnCreate);
  FUNCTION(cudnnDestroy);
  FUNCTION(cudnnGetVersion);
  FUNCTION(cudnnSetStream);
  FUNCTION(cudnnCreateTensorDescriptor);
  FUNCTION(cudnnDestroyTensorDescriptor);
  FUNCTION(cudnnSetTensor4dDescriptor);
  FUNCTION(cudnnCreateFilterDescriptor);
  FUNCTION(cudnnDestroyFilterDescriptor);
  FUNCTION(cudnnSetFilter4dDescriptor);
  FUNCTION(cudnnCreateConvolutionDescriptor);
  FUNCTION(cudnnDestroyConvolutionDescriptor);
  FUNCTION(cudnnSetConvolution2dDescriptor);
  FUNCTION(cudnnSetConvolutionMathType);
  FUNCTION(cudnnCreateActivationDescriptor);
  FUNCTION(cudnnDestroyActivationDescriptor);
  FUNCTION(cudnnSetActivationDescriptor);
  FUNCTION(cudnnGetConvolutionForwardWorkspaceSize);
  FUNCTION(cudnnConvolutionBiasActivationForward);
};

void check(cudnnStatus_t status, const char* doing) {
  if (status != CUDNN_STATUS_SUCCESS)
    throw std::runtime_error(std::string("cuDNN, ") + doing + ": status " + std::to_string(status));
}

// The one that a fused bias and no activation go with.
constexpr auto kWay = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;

struct Convolution {
  Dnn& dnn;
  cudnnTensorDescriptor_t x = nullptr, y = nullptr, bias = nullptr;
  cudnnFilterDescriptor_t weight = nullptr;
  cudnnConvolutionDescriptor_t window = nullptr;
  cudnnActivationDescriptor_t none = nullptr;
  std::shared_ptr<void> biases;

  explicit Convolution(Dnn& dnn) : dnn(dnn) {
    for (cudnnTensorDescriptor_t* tensor : {&x, &y, &bias})
      check(dnn.cudnnCreateTensorDescriptor(tensor), "describing a tensor");
    check(dnn.cudnnCreateFilterDescriptor(&weight), "describing a weight");
    check(dnn.cudnnCreateConvolutionDescriptor(&window), "describing a convolution");
    check(dnn.cudnnCreateActivationDescriptor(&none), "describing an activation");
  }
  Convolution(const Convolution&) = delete;
  Convolution& operator=(const Convolution&) = delete;
  ~Convolution() {
    for (cudnnTensorDescriptor_t tensor : {x, y, bias})
      if (tensor) dnn.cudnnDestroyTensorDescriptor(tensor);
    if (weight) dnn.cudnnDestroyFilterDescriptor(weight);
    if (window) dnn.cudnnDestroyConvolutionDescriptor(window);
    if (none) dnn.cudnnDestroyActivationDescriptor(none);
  }

  void describe(const Work& work) {
    const cudnnDataType_t type = work.storage == Storage::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
    const auto tensor = [&](cudnnTensorDescriptor_t to, int n, int c, int height, int width) {
      check(dnn.cudnnSetTensor4dDescriptor(to, CUDNN_TENSOR_NHWC, type, n, c, height, width),
            "describing a tensor");
    };
    tensor(x, work.images, work.channels, work.height, work.width);
    tensor(y, work.images, work.columns, work.out_height, work.out_width);
    tensor(bias, 1, work.columns, 1, 1);
    check(dnn.cudnnSetFilter4dDescriptor(weight, type, CUDNN_TENSOR_NHWC, work.columns, work.channels,
                                         work.kh, work.kw),
          "describing a weight");
    check(dnn.cudnnSetConvolution2dDescriptor(window, work.top, work.left, work.stride, work.stride, 1, 1,
                                              CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
          "describing a convolution");
    check(dnn.cudnnSetConvolutionMathType(window, CUDNN_TENSOR_OP_MATH), "describing a convolution");
    check(dnn.cudnnSetActivationDescriptor(none, CUDNN_ACTIVATION_IDENTITY, CUDNN_NOT_PROPAGATE_NAN, 0),
          "describing an activation");
  }
};

class Cudnn final : public Provider {
 public:
  explicit Cudnn(Runtime& runtime) : runtime_(runtime) {
    if (!dnn_.library || dnn_.cudnnCreate(&handle_) != CUDNN_STATUS_SUCCESS) return;
    check(dnn_.cudnnSetStream(handle_, reinterpret_cast<cudaStream_t>(runtime.stream())),
          "taking the stream");
    name_ = "cudnn " + std::to_string(dnn_.cudnnGetVersion());
  }
  ~Cudnn() override {
    if (handle_) dnn_.cudnnDestroy(handle_);
  }
  bool usable() const { return !name_.empty(); }
  const std::string& name() const override { return name_; }

  std::optional<Step> take(const Work& work, const Own& own) override {
    // The same padding on both sides: the library knows no other.
    const auto even = [&](int in, int out, int kernel, int before) {
      return (in + 2 * before - kernel) / work.stride + 1 == out;
    };
    if (!work.convolution || work.channels % 8 || work.columns % 8 ||
        !even(work.height, work.out_height, work.kh, work.top) ||
        !even(work.width, work.out_width, work.kw, work.left))
      return std::nullopt;
    auto convolution = std::make_shared<Convolution>(dnn_);
    convolution->describe(work);
    size_t workspace = 0;
    if (dnn_.cudnnGetConvolutionForwardWorkspaceSize(handle_, convolution->x, convolution->weight,
                                                     convolution->window, convolution->y, kWay,
                                                     &workspace) != CUDNN_STATUS_SUCCESS)
      return std::nullopt;
    const size_t count = static_cast<size_t>(work.columns);
    convolution->biases = own(2 * count);
    if (work.bias)
      convert(runtime_.stream(), work.bias, Scalar::f32, convolution->biases.get(), scalar_of(work.storage),
              count);
    else
      runtime_.fill(convolution->biases.get(), 0, 2 * count);
    const auto run = [=, handle = handle_](Stream, char* scratch) {
      const float one = 1, more = work.residual ? 1 : 0;
      const Convolution& c = *convolution;
      check(c.dnn.cudnnConvolutionBiasActivationForward(
                handle, &one, c.x, work.x, c.weight, work.weight, c.window, kWay, scratch, workspace, &more,
                c.y, work.residual ? work.residual : work.y, c.bias, c.biases.get(), c.none, c.y, work.y),
            "a convolution");
    };
    return Step{run, workspace};
  }

 private:
  Runtime& runtime_;
  Dnn dnn_;
  cudnnHandle_t handle_ = nullptr;
  std::string name_;
};

}  // namespace

std::unique_ptr<Provider> open_cudnn(Runtime& runtime) {
  auto provider = std::make_unique<Cudnn>(runtime);
  if (!provider->usable()) return nullptr;
  return provider;
}

}  // namespace latent_edge::gpu

#else

namespace latent_edge::gpu {
std::unique_ptr<Provider> open_cudnn(Runtime&) {
  return nullptr;
}
}  // namespace latent_edge::gpu

#endif
