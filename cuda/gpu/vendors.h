// The vendors' libraries, one file each; nullptr where the header was not found at the build, or the library now.
#pragma once

#include "providers.h"

namespace latent_edge::gpu {

std::unique_ptr<Provider> open_cublaslt(Runtime& runtime);
std::unique_ptr<Provider> open_cudnn(Runtime& runtime);

}  // namespace latent_edge::gpu
