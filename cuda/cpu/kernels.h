// The CPU kernels, one file each.
#pragma once

#include "bind.h"

namespace latent_edge {

extern const Kernel kActivation, kAffine, kAttention, kConv2d, kEmbedding, kGroupNorm, kLayerNorm, kLinear,
    kQuantize, kRepeat, kTimestepEmbedding, kToNchw, kToNhwc, kZeroConv;

}  // namespace latent_edge
