#include "js_classes.h"

namespace latent_edge {

namespace {
constexpr napi_type_tag kTag = {0x6c6174656e746564, 0x676574656e736f72};
}

Napi::Function JsTensor::define(Napi::Env env) {
  return DefineClass(
      env, "NativeTensor",
      {InstanceAccessor<&JsTensor::shape>("shape"), InstanceAccessor<&JsTensor::bytes>("bytes"),
       InstanceMethod<&JsTensor::dispose>("dispose")});
}

Napi::Object JsTensor::make(Napi::Env env, std::shared_ptr<Session> session, std::shared_ptr<Tensor> tensor) {
  return make_object<Tensor>(env, Classes::of(env).tensor, {std::move(session), std::move(tensor)});
}

JsTensor::JsTensor(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  auto& made = Made<Tensor>::from(info, "run");
  session_ = std::move(made.session);
  tensor_ = std::move(made.resource);
  shape_ = tensor_->shape;
  bytes_ = tensor_->bytes;
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

bool JsTensor::is(Napi::Value value) {
  return value.IsObject() && value.As<Napi::Object>().CheckTypeTag(&kTag);
}

std::shared_ptr<Tensor> JsTensor::from(const Field& field, const Session& session) {
  const JsTensor& self = *Unwrap(field.value().As<Napi::Object>());
  if (self.session_.get() != &session)
    throw Napi::Error::New(field.value().Env(),
                           "The NativeTensor for " + field.path() + " belongs to another device");
  if (!self.tensor_)
    throw Napi::Error::New(field.value().Env(),
                           "The NativeTensor for " + field.path() + " has been disposed");
  return self.tensor_;
}

Napi::Value JsTensor::shape(const Napi::CallbackInfo& info) {
  return to_js(info.Env(), shape_);
}

Napi::Value JsTensor::bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(bytes_));
}

// A run in flight that reads the tensor holds it until then.
Napi::Value JsTensor::dispose(const Napi::CallbackInfo& info) {
  tensor_.reset();
  session_->report_memory(info.Env());
  return info.Env().Undefined();
}

}  // namespace latent_edge
