// The GPU kernels, one file each.
#pragma once

#include "../gpu/kernel.h"

namespace latent_edge::gpu {

extern const Kernel kActivation, kAffine, kAttention, kConv2d, kEmbedding, kGroupNorm, kLayerNorm, kLinear,
    kQuantize, kRepeat, kTimestepEmbedding, kToNchw, kToNhwc, kZeroConv;

}  // namespace latent_edge::gpu
