// The GPUs of this machine. The runtime is linked statically and finds the driver when first asked, so that a
// build with CUDA also loads where there is none.
#include <cuda_runtime_api.h>

#include "../addon/cuda_devices.h"

namespace latent_edge {

std::vector<CudaDevice> cuda_devices() {
  std::vector<CudaDevice> devices;
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) return devices;
  for (int i = 0; i < count; i++) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    devices.push_back({i, properties.name,
                       "sm_" + std::to_string(properties.major) + std::to_string(properties.minor),
                       static_cast<int64_t>(properties.totalGlobalMem)});
  }
  return devices;
}

}  // namespace latent_edge
