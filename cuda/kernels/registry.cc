#include "kernels.h"

namespace latent_edge::gpu {

// One line an op; the names are those of the op table (sidecar/graph/ops.ts).
const std::map<std::string, Kernel>& kernels() {
  static const std::map<std::string, Kernel> all = {
      {"activation", kActivation},
      {"affine", kAffine},
      {"attention", kAttention},
      {"conv2d", kConv2d},
      {"embedding", kEmbedding},
      {"group_norm", kGroupNorm},
      {"layer_norm", kLayerNorm},
      {"linear", kLinear},
      {"quantize", kQuantize},
      {"repeat", kRepeat},
      {"timestep_embedding", kTimestepEmbedding},
      {"to_nchw", kToNchw},
      {"to_nhwc", kToNhwc},
      {"zero_conv", kZeroConv},
  };
  return all;
}

}  // namespace latent_edge::gpu
