// The vendors' libraries, one file each; nullptr where the library is not there, or not usable.
#pragma once

#include "providers.h"

namespace latent_edge::gpu {

// `folder`: where it is looked for, ending with a slash; empty: where the system looks.
std::unique_ptr<Provider> open_cublaslt(Runtime& runtime, const std::string& folder);
std::unique_ptr<Provider> open_cudnn(Runtime& runtime, const std::string& folder);

// Device memory for numbers of a step's own: those of a library that takes biases in the storage's type.
inline std::shared_ptr<void> rounded_bias(Runtime& runtime, const Work& work, const Provider::Own& own) {
  const auto count = static_cast<size_t>(work.columns);
  auto bias = own(count * bytes_of(scalar_of(work.storage)));
  convert(runtime.stream(), work.bias, Scalar::f32, bias.get(), scalar_of(work.storage), count);
  return bias;
}

}  // namespace latent_edge::gpu
