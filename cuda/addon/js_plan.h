// sidecar/graph/plan.ts, WeightSource and WeightDelta of sidecar/native.ts, from JavaScript.
#pragma once

#include "delta.h"
#include "js_values.h"
#include "plan.h"

namespace latent_edge {

// They throw Napi errors naming the field; what the fields mean together is checked by check_plan and load.
PlanDesc plan_from_js(Napi::Value value);
std::vector<WeightSource> sources_from_js(Napi::Value value);
std::vector<WeightDelta> deltas_from_js(const Field& field);

}  // namespace latent_edge
