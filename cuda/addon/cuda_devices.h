// What cuda/kernels/devices.cu lists; cuda_devices_none.cc stands in for it in a build without nvcc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace latent_edge {

struct CudaDevice {
  int index = 0;
  std::string name;
  std::string arch;  // "sm_90"
  int64_t memory_bytes = 0;
};

// Empty where there is no driver or no GPU. Never throws.
std::vector<CudaDevice> cuda_devices();

}  // namespace latent_edge
