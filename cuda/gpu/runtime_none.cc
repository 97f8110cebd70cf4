// In a build with neither CUDA nor the emulator there are no GPUs.
#include <stdexcept>

#include "providers.h"

namespace latent_edge::gpu {

std::vector<GpuInfo> list_gpus() {
  return {};
}

std::string gpu_trouble() {
  return "this build has no CUDA kernels: they are built where nvidia-smi lists a GPU, or by npm run setup "
         "-- --gpu";
}

std::shared_ptr<Runtime> open_gpu(const std::string& id) {
  throw std::runtime_error("cannot open " + id + ": this build has no CUDA kernels");
}

const std::map<std::string, Kernel>& kernels() {
  static const std::map<std::string, Kernel> none;
  return none;
}

std::vector<std::unique_ptr<Provider>> vendors(Runtime&) {
  return {};
}

void convert(Stream, const void*, Scalar, void*, Scalar, size_t) {}

}  // namespace latent_edge::gpu
