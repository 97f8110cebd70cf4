#include "cuda_devices.h"

namespace latent_edge {

std::vector<CudaDevice> cuda_devices() {
  return {};
}

}  // namespace latent_edge
