// The executor's runtime on CUDA. Linked statically; the driver is looked for when a device is first asked for, so that
// a build with CUDA also loads where there is none.
#include <cuda_runtime.h>

#include "../addon/error.h"
#include "../kernels/device.h"
#include "runtime.h"
#include "vendors.h"

namespace latent_edge::gpu {

namespace {

// Errors after which every call of this process to the device fails, until it ends (CUDA Runtime API, cudaError).
bool is_sticky(cudaError_t error) {
  switch (error) {
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorExternalDevice:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

void check(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // so that it is not told twice
  const std::string message = std::string(doing) + ": " + cudaGetErrorString(error);
  if (error == cudaErrorMemoryAllocation) throw OutOfMemory(message);
  if (is_sticky(error)) throw DeviceLost(message);
  throw std::runtime_error(message);
}

__global__ void probe(int* has) {
  *has = kHasWarpgroups;
}

// Whether the kernels that run here were compiled for sm_90a: those for sm_90, or of PTX that the driver compiles for a
// newer GPU, have none of its instructions. They are asked themselves.
bool has_warpgroups() {
  int* has = nullptr;
  check(cudaMalloc(&has, sizeof(int)), "allocating device memory");
  probe<<<1, 1>>>(has);
  int answer = 0;
  const cudaError_t error = cudaMemcpy(&answer, has, sizeof(int), cudaMemcpyDeviceToHost);
  cudaFree(has);
  check(error, "asking what the kernels were compiled for");
  return answer != 0;
}

class CudaGraph final : public Runtime::Graph {
 public:
  explicit CudaGraph(cudaGraph_t graph) {
    const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    check(error, "making a CUDA graph");
  }
  ~CudaGraph() override { cudaGraphExecDestroy(executable); }

  cudaGraphExec_t executable = nullptr;
};

class CudaRuntime final : public Runtime {
 public:
  explicit CudaRuntime(int index) {
    check(cudaSetDevice(index), "choosing the device");
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, index), "asking for the device's properties");
    if (properties.major < 8)
      throw std::runtime_error("expected a GPU of compute capability 8.0 or later (Ampere), received " +
                               std::string(properties.name) + " of " + std::to_string(properties.major) +
                               "." + std::to_string(properties.minor));
    int driver = 0;
    check(cudaDriverGetVersion(&driver), "asking for the driver's version");
    identity_ = std::string(properties.name) + ", driver " + std::to_string(driver);
    chip_ = {properties.multiProcessorCount, properties.sharedMemPerBlockOptin, has_warpgroups()};
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
    for (cudaEvent_t& mark : marks_)
      check(cudaEventCreateWithFlags(&mark, cudaEventDisableTiming), "making an event");
    for (cudaEvent_t& event : clock_) check(cudaEventCreate(&event), "making an event");
  }
  ~CudaRuntime() override {
    for (cudaEvent_t event : {marks_[0], marks_[1], clock_[0], clock_[1]})
      if (event) cudaEventDestroy(event);
    if (stream_) cudaStreamDestroy(stream_);
  }

  Chip chip() const override { return chip_; }
  std::string identity() const override { return identity_; }
  size_t free_bytes() override { return memory().first; }
  size_t total_bytes() override { return memory().second; }

  void* allocate(size_t bytes) override {
    void* data = nullptr;
    const cudaError_t error = cudaMalloc(&data, bytes == 0 ? 256 : bytes);
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      return nullptr;
    }
    check(error, "allocating device memory");
    return data;
  }
  // Waits for the device, so that nothing which runs loses its memory.
  void release(void* data) override { cudaFree(data); }
  void* allocate_host(size_t bytes) override {
    void* data = nullptr;
    check(cudaMallocHost(&data, bytes == 0 ? 256 : bytes), "allocating pinned host memory");
    return data;
  }
  void release_host(void* data) override { cudaFreeHost(data); }

  Stream stream() override { return reinterpret_cast<Stream>(stream_); }
  void copy(void* to, const void* from, size_t bytes) override {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_), "copying");
  }
  void fill(void* to, int byte, size_t bytes) override {
    check(cudaMemsetAsync(to, byte, bytes, stream_), "filling memory");
  }
  void synchronize() override { check(cudaStreamSynchronize(stream_), "running kernels"); }

  void mark(int i) override { check(cudaEventRecord(marks_[i], stream_), "recording an event"); }
  void await(int i) override { check(cudaEventSynchronize(marks_[i]), "running kernels"); }

  std::unique_ptr<Graph> capture(const std::function<void()>& work) override {
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "beginning a CUDA graph");
    cudaGraph_t graph = nullptr;
    try {
      work();
    } catch (...) {
      // The stream would stay as it is.
      if (cudaStreamEndCapture(stream_, &graph) == cudaSuccess) cudaGraphDestroy(graph);
      cudaGetLastError();
      throw;
    }
    check(cudaStreamEndCapture(stream_, &graph), "ending a CUDA graph");
    return std::make_unique<CudaGraph>(graph);
  }
  void replay(Graph& graph) override {
    check(cudaGraphLaunch(static_cast<CudaGraph&>(graph).executable, stream_), "launching a CUDA graph");
  }

  double time(const std::function<void()>& work) override {
    constexpr int kWarm = 2, kRuns = 5;
    for (int i = 0; i < kWarm; i++) work();
    check(cudaEventRecord(clock_[0], stream_), "recording an event");
    for (int i = 0; i < kRuns; i++) work();
    check(cudaEventRecord(clock_[1], stream_), "recording an event");
    check(cudaEventSynchronize(clock_[1]), "running kernels");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, clock_[0], clock_[1]), "reading the device's clock");
    return milliseconds / kRuns;
  }

 private:
  std::pair<size_t, size_t> memory() {
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free memory");
    return {free, total};
  }

  Chip chip_;
  std::string identity_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t marks_[kMarks] = {}, clock_[2] = {};
};

}  // namespace

namespace {

std::string cuda_version(int version) {
  return "CUDA " + std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// That the driver knows; 0 where there is none.
int driver_version() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess ? version : 0;
}

}  // namespace

std::vector<GpuInfo> list_gpus() {
  std::vector<GpuInfo> gpus;
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return gpus;
  for (int i = 0; i < count; i++) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    gpus.push_back({"cuda:" + std::to_string(i), properties.name,
                    "sm_" + std::to_string(properties.major) + std::to_string(properties.minor),
                    cuda_version(driver_version()), static_cast<int64_t>(properties.totalGlobalMem)});
  }
  return gpus;
}

std::string gpu_trouble() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (error == cudaErrorInsufficientDriver || error == cudaErrorNoDevice) {
    const int driver = driver_version();
    if (driver == 0) return "no NVIDIA driver was found";
    int runtime = 0;
    cudaRuntimeGetVersion(&runtime);
    if (error == cudaErrorInsufficientDriver)
      return "the NVIDIA driver knows " + cuda_version(driver) + ", this build needs " +
             cuda_version(runtime);
    return "the NVIDIA driver finds no GPU";
  }
  return error == cudaSuccess ? "" : cudaGetErrorString(error);
}

std::vector<std::unique_ptr<Provider>> vendors(Runtime& runtime) {
  std::vector<std::unique_ptr<Provider>> all;
  for (const auto open : {open_cublaslt, open_cudnn})
    if (auto vendor = open(runtime, "")) all.push_back(std::move(vendor));
  return all;
}

std::shared_ptr<Runtime> open_gpu(const std::string& id) {
  return std::make_shared<CudaRuntime>(std::stoi(id.substr(id.find(':') + 1)));
}

}  // namespace latent_edge::gpu
