// The four objects of sidecar/native.ts. Each holds its session; what belongs to the device goes before it.
#pragma once

#include <napi.h>

#include <memory>

#include "js_values.h"
#include "session.h"

namespace latent_edge {

// Constructors of one environment.
struct Classes {
  Napi::FunctionReference device, weights, program, tensor;
  static Classes& of(Napi::Env env) { return *env.GetInstanceData<Classes>(); }
};

class JsDevice : public Napi::ObjectWrap<JsDevice> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Value open(const Napi::CallbackInfo& info);     // open(options)
  static Napi::Value devices(const Napi::CallbackInfo& info);  // devices()
  explicit JsDevice(const Napi::CallbackInfo& info);

 private:
  Napi::Value info(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
  Napi::Value choices(const Napi::CallbackInfo& info);
  Napi::Value load_weights(const Napi::CallbackInfo& info);
  Napi::Value compile(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<Session> session_;
};

class JsWeights : public Napi::ObjectWrap<JsWeights> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object make(Napi::Env env, std::shared_ptr<Session> session, std::shared_ptr<Weights> weights);
  // Throws where the value is no weights of this session, or disposed.
  static std::shared_ptr<Weights> from(const Field& field, const Session& session);
  explicit JsWeights(const Napi::CallbackInfo& info);

 private:
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<Session> session_;
  std::shared_ptr<Weights> weights_;
  bool disposed_ = false;
};

class JsProgram : public Napi::ObjectWrap<JsProgram> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object make(Napi::Env env, std::shared_ptr<Session> session, std::shared_ptr<Program> program);
  explicit JsProgram(const Napi::CallbackInfo& info);

 private:
  Napi::Value run(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<Session> session_;
  std::shared_ptr<Program> program_;
  bool disposed_ = false;
};

class JsTensor : public Napi::ObjectWrap<JsTensor> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object make(Napi::Env env, std::shared_ptr<Session> session, std::shared_ptr<Tensor> tensor);
  static bool is(Napi::Value value);
  // Throws where the value is no tensor of this session, or disposed.
  static std::shared_ptr<Tensor> from(const Field& field, const Session& session);
  explicit JsTensor(const Napi::CallbackInfo& info);

 private:
  Napi::Value shape(const Napi::CallbackInfo& info);
  Napi::Value bytes(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<Session> session_;
  std::shared_ptr<Tensor> tensor_;
  Shape shape_;
  size_t bytes_ = 0;
};

// What a constructor receives from make(); anyone else's call of it is refused.
template <class Resource>
struct Made {
  std::shared_ptr<Session> session;
  std::shared_ptr<Resource> resource;

  static Made& from(const Napi::CallbackInfo& info, const char* maker) {
    if (info.Length() != 1 || !info[0].IsExternal())
      throw Napi::TypeError::New(info.Env(), std::string("Expected to be called by ") + maker + " alone");
    return *info[0].As<Napi::External<Made>>().Data();
  }
};

template <class Resource>
Napi::Object make_object(Napi::Env env, const Napi::FunctionReference& constructor, Made<Resource> made) {
  return constructor.New({Napi::External<Made<Resource>>::New(env, &made)});
}

}  // namespace latent_edge
