#include "js_classes.h"

namespace latent_edge {

namespace {
constexpr napi_type_tag kTag = {0x6c6174656e746564, 0x6765776569676874};
}

Napi::Function JsWeights::define(Napi::Env env) {
  return DefineClass(env, "NativeWeights", {InstanceMethod<&JsWeights::dispose>("dispose")});
}

Napi::Object JsWeights::make(Napi::Env env, std::shared_ptr<Session> session,
                             std::shared_ptr<Weights> weights) {
  return make_object<Weights>(env, Classes::of(env).weights, {std::move(session), std::move(weights)});
}

JsWeights::JsWeights(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  auto& made = Made<Weights>::from(info, "loadWeights");
  session_ = std::move(made.session);
  weights_ = std::move(made.resource);
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

std::shared_ptr<Weights> JsWeights::from(const Field& field, const Session& session) {
  const Napi::Value value = field.value();
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) field.wrong("NativeWeights");
  const JsWeights& self = *Unwrap(value.As<Napi::Object>());
  if (self.session_.get() != &session)
    throw Napi::Error::New(value.Env(), "The weights belong to another device");
  if (self.disposed_) throw Napi::Error::New(value.Env(), "The weights have been disposed");
  return self.weights_;
}

Napi::Value JsWeights::dispose(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return promised(env, [&]() -> Napi::Value {
    disposed_ = true;
    if (session_->disposed()) return session_->dispose(env);
    return session_->submit(
        env, [weights = weights_] { weights->release(); }, [](Napi::Env env) { return env.Undefined(); });
  });
}

}  // namespace latent_edge
