// The ways of conv2d on a CPU, of which conv2d.cc chooses one.
#pragma once

#include "../ops/conv2d.h"
#include "gemm.h"
#include "kernels.h"

namespace latent_edge {

// Depth runs over taps, then channels: consecutive depths are consecutive in NHWC memory.
inline Panels conv_panels(const OpDesc& op, const Conv2dOp& p, BindContext& context) {
  const int64_t taps = p.kh * p.kw, channels = p.channels;
  return Panels(context, op.weight("weight"), "panels.hwc", p.out_channels, channels, taps,
                [=](int64_t column, int64_t c, int64_t tap) { return (column * channels + c) * taps + tap; });
}
inline std::shared_ptr<const PackedWeight> conv_bias(const OpDesc& op, BindContext& context) {
  const WeightRef* bias = op.find_weight("bias");
  return bias ? context.weights.raw(*bias) : nullptr;
}

bool winograd_fits(const Conv2dOp& p);
std::unique_ptr<Step> bind_winograd(const OpDesc& op, BindContext& context);

}  // namespace latent_edge
