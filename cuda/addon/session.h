// A device as one JavaScript environment sees it: promises for jobs, and an end that comes with the
// environment's own.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "device.h"

namespace latent_edge {

// Used from the JavaScript thread.
class Session : public std::enable_shared_from_this<Session> {
 public:
  static std::shared_ptr<Session> open(Napi::Env env, DeviceInfo info, OpenOptions options);
  ~Session();

  // work() on the device's thread, then result() here for the promise's value. While a job is under way the
  // process stays alive; an idle device does not keep it.
  Napi::Promise submit(Napi::Env env, std::function<void()> work,
                       std::function<Napi::Value(Napi::Env)> result);

  // Throws Napi::Error once the device is being disposed.
  void check_open(Napi::Env env) const;
  bool disposed() const { return disposing_; }
  Napi::Promise dispose(Napi::Env env);

  // Tells V8 what the device holds.
  void report_memory(Napi::Env env);

  Device& device() { return *device_; }

 private:
  struct Call;
  static void settle(Napi::Env env, Napi::Function, Session*, Call* call);
  using Channel = Napi::TypedThreadSafeFunction<Session, Call, &Session::settle>;

  Session() = default;
  void close(Napi::Env env);
  static void at_exit(void* self);

  napi_env env_ = nullptr;
  std::unique_ptr<Device> device_;
  Channel channel_;
  int in_flight_ = 0;
  int64_t reported_ = 0;
  bool disposing_ = false, closed_ = false;
  std::vector<Napi::Promise::Deferred> disposals_;
};

}  // namespace latent_edge
