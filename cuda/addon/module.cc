// Every export of the addon. Its typed face: sidecar/native.ts.
#include "js_classes.h"

namespace latent_edge {

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* classes = new Classes;
  classes->device = Napi::Persistent(JsDevice::define(env));
  classes->weights = Napi::Persistent(JsWeights::define(env));
  classes->program = Napi::Persistent(JsProgram::define(env));
  classes->tensor = Napi::Persistent(JsTensor::define(env));
  env.SetInstanceData(classes);

  exports.Set("devices", Napi::Function::New<JsDevice::devices>(env, "devices"));
  exports.Set("open", Napi::Function::New<JsDevice::open>(env, "open"));
  return exports;
}

NODE_API_MODULE(latent_edge, init)

}  // namespace latent_edge
