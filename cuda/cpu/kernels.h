// The CPU kernels, one file each.
#pragma once

#include "bind.h"

namespace latent_edge {

extern const Kernel kActivation, kAttention, kConv2d, kEmbedding, kGroupNorm, kLayerNorm, kLinear,
    kTimestepEmbedding, kToNchw, kToNhwc;

}  // namespace latent_edge
