// sidecar/graph/plan.ts and WeightSource of sidecar/native.ts, from JavaScript.
#pragma once

#include "js_values.h"
#include "plan.h"
#include "weights.h"

namespace latent_edge {

// Both throw Napi errors naming the field; what the fields mean together is checked by check_plan and load.
PlanDesc plan_from_js(Napi::Value value);
std::vector<WeightSource> sources_from_js(Napi::Value value);

}  // namespace latent_edge
