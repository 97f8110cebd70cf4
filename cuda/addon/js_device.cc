#include <algorithm>

#include "../gpu/runtime.h"
#include "error.h"
#include "js_classes.h"
#include "js_plan.h"

namespace latent_edge {

namespace {

constexpr std::pair<const char*, Element> kDTypes[] = {
    {"f32", Element::f32}, {"f16", Element::f16}, {"bf16", Element::bf16}};

const char* to_string(Element dtype) {
  for (const auto& [name, element] : kDTypes)
    if (element == dtype) return name;
  return "";
}

std::optional<Element> dtype_from_js(const Field& field) {
  if (field.absent()) return std::nullopt;
  const std::string text = field.text();
  for (const auto& [name, element] : kDTypes)
    if (name == text) return element;
  field.wrong("f32, f16 or bf16");
}

Providers providers_from_js(const Field& field) {
  if (field.absent()) return Providers::hand;
  const std::string text = field.text();
  if (text == "hand") return Providers::hand;
  if (text == "vendor") return Providers::vendor;
  if (text == "auto") return Providers::automatic;
  field.wrong("hand, vendor or auto");
}

Napi::Object to_js(Napi::Env env, const DeviceInfo& device) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("id", device.id);
  object.Set("name", device.name);
  object.Set("arch", device.arch);
  if (!device.driver.empty()) object.Set("driver", device.driver);
  object.Set("threads", device.threads);
  object.Set("memoryBytes", static_cast<double>(device.memory_bytes));
  object.Set("dtype", to_string(device.dtype));
  return object;
}

DeviceInfo find_device(Napi::Env env, const std::string& id) {
  for (DeviceInfo& cpu : list_cpus())
    if (cpu.id == id) return cpu;
  std::string known;
  for (DeviceInfo& device : list_devices()) {
    if (device.id == id) return device;
    known += (known.empty() ? "" : ", ") + device.id;
  }
  const std::string trouble = id.rfind("cuda:", 0) == 0 ? gpu::gpu_trouble() : "";
  throw Napi::RangeError::New(env, "Unknown device \"" + id + "\": this machine has " + known +
                                       (trouble.empty() ? "" : "; " + trouble));
}

}  // namespace

Napi::Function JsDevice::define(Napi::Env env) {
  return DefineClass(
      env, "NativeDevice",
      {InstanceAccessor<&JsDevice::info>("info"), InstanceMethod<&JsDevice::memory>("memory"),
       InstanceMethod<&JsDevice::choices>("choices"), InstanceMethod<&JsDevice::load_weights>("loadWeights"),
       InstanceMethod<&JsDevice::compile>("compile"), InstanceMethod<&JsDevice::dispose>("dispose")});
}

Napi::Value JsDevice::devices(const Napi::CallbackInfo& info) {
  const std::vector<DeviceInfo> devices = [&] {
    DriverStart start;
    const Field options(info[0], "options");
    if (!options.absent()) {
      if (const Field gpus = options["gpus"]; !gpus.absent() && !gpus.boolean()) return list_cpus();
      if (const Field ms = options["patienceMs"]; !ms.absent())
        start.patience = std::chrono::milliseconds(ms.integer(1, int64_t{1} << 32));
      if (const Field hang = options["hang"]; !hang.absent()) start.hang = hang.boolean();
    }
    try {
      return list_devices(start);
    } catch (const CodedError& e) {
      Napi::Error error = Napi::Error::New(info.Env(), e.what());
      error.Set("code", e.code());
      throw error;
    } catch (const std::exception& e) {
      throw Napi::Error::New(info.Env(), e.what());
    }
  }();
  Napi::Array list = Napi::Array::New(info.Env(), devices.size());
  for (size_t i = 0; i < devices.size(); i++)
    list.Set(static_cast<uint32_t>(i), to_js(info.Env(), devices[i]));
  return list;
}

Napi::Value JsDevice::open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return promised(env, [&]() -> Napi::Value {
    const Field options(info[0], "options");
    const std::string id = options["device"].text();
    const Field threads = options["threads"], poison = options["poison"];
    OpenOptions open;
    open.compile.reference = id == "cpu-reference";
    open.compile.poison = !poison.absent() && poison.boolean();
    if (const Field file = options["choicesFile"]; !file.absent()) open.choices_file = file.text();
    if (const Field runs = options["loseAfter"]; !runs.absent())
      open.lose_after = runs.integer(0, int64_t{1} << 50);
    if (const Field runs = options["hangAfter"]; !runs.absent())
      open.hang_after = runs.integer(0, int64_t{1} << 50);
    open.providers = providers_from_js(options["providers"]);
    const int asked = threads.absent() ? 0 : static_cast<int>(threads.integer(1, 256));
    DeviceInfo device = find_device(env, id);
    if (asked > 0 && device.threads > 0) device.threads = asked;
    if (const Field memory = options["memoryBytes"]; !memory.absent() && device.threads == 0)
      device.memory_bytes = std::min(device.memory_bytes, memory.integer(1, int64_t{1} << 50));
    device.dtype = dtype_from_js(options["dtype"]).value_or(device.dtype);

    const auto session = Session::open(env, std::move(device), std::move(open));
    Session* const self = session.get();
    return session->submit(
        env, [=] { self->device().open(); },
        [=](Napi::Env env) {
          return make_object<Device>(env, Classes::of(env).device, {self->shared_from_this(), nullptr});
        });
  });
}

JsDevice::JsDevice(const Napi::CallbackInfo& info)
    : ObjectWrap(info), session_(Made<Device>::from(info, "open").session) {}

Napi::Value JsDevice::info(const Napi::CallbackInfo& info) {
  return to_js(info.Env(), session_->device().info);
}

Napi::Value JsDevice::memory(const Napi::CallbackInfo& info) {
  const Account& account = *session_->device().account;
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("weights", static_cast<double>(account.weights));
  object.Set("arenas", static_cast<double>(account.arenas));
  object.Set("tensors", static_cast<double>(account.tensors));
  object.Set("scratch", static_cast<double>(account.scratch));
  return object;
}

Napi::Value JsDevice::choices(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return promised(env, [&] {
    session_->check_open(env);
    auto made = std::make_shared<std::map<std::string, std::string>>();
    Session* session = session_.get();
    return session_->submit(
        env, [=] { *made = session->device().choices(); },
        [=](Napi::Env env) {
          Napi::Object object = Napi::Object::New(env);
          for (const auto& [shape, name] : *made) object.Set(shape, name);
          return object;
        });
  });
}

Napi::Value JsDevice::load_weights(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return promised(env, [&] {
    session_->check_open(env);
    auto sources = std::make_shared<std::vector<WeightSource>>(sources_from_js(info[0]));
    const Field options(info[1], "options");
    const bool plain = options.absent() || options["base"].absent();
    const std::shared_ptr<Weights> base = plain ? nullptr : JsWeights::from(options["base"], *session_);
    std::map<std::string, std::shared_ptr<Weights>> under;
    if (!options.absent() && !options["under"].absent())
      for (const std::string& prefix : options["under"].keys())
        under[prefix] = JsWeights::from(options["under"][prefix], *session_);
    auto deltas = std::make_shared<std::vector<WeightDelta>>();
    if (!options.absent() && !options["deltas"].absent()) *deltas = deltas_from_js(options["deltas"]);
    auto loaded = std::make_shared<std::shared_ptr<Weights>>();
    Session* session = session_.get();
    return session_->submit(
        env,
        [=] { *loaded = session->device().load(std::move(*sources), base.get(), under, std::move(*deltas)); },
        [=](Napi::Env env) { return JsWeights::make(env, session->shared_from_this(), *loaded); });
  });
}

Napi::Value JsDevice::compile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return promised(env, [&] {
    session_->check_open(env);
    auto plan = std::make_shared<PlanDesc>(plan_from_js(info[0]));
    auto weights = JsWeights::from(Field(info[1], "weights"), *session_);
    const Field options(info[2], "options");
    const auto dtype = options.absent() ? std::nullopt : dtype_from_js(options["dtype"]);
    auto compiled = std::make_shared<std::shared_ptr<Program>>();
    Session* session = session_.get();
    return session_->submit(
        env, [=] { *compiled = session->device().compile(std::move(*plan), *weights, dtype); },
        [=](Napi::Env env) { return JsProgram::make(env, session->shared_from_this(), *compiled); });
  });
}

Napi::Value JsDevice::dispose(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&] { return session_->dispose(info.Env()); });
}

}  // namespace latent_edge
