#include "session.h"

#include <algorithm>
#include <new>

#include "error.h"

namespace latent_edge {

struct Session::Call final : Job {
  Call(Napi::Env env, std::shared_ptr<Session> session)
      : session(std::move(session)),
        deferred(env),
        origin(Napi::ObjectReference::New(Napi::Error::New(env, "").Value(), 1)) {}

  // The error with the JavaScript stack of the call that asked for the work.
  Napi::Value failure(Napi::Env env) const {
    Napi::Object value = origin.Value();
    const std::string stack = value.Get("stack").ToString();
    const size_t frames = std::min(stack.find('\n'), stack.size());
    value.Set("message", error);
    if (code) value.Set("code", code);
    value.Set("stack", Napi::String::New(env, "Error: " + error + stack.substr(frames)));
    return value;
  }

  void run() override {
    try {
      work();
    } catch (const CodedError& e) {
      error = e.what();
      code = e.code();
      failed = true;
    } catch (const std::bad_alloc&) {
      const OutOfMemory e("Not enough memory");
      error = e.what();
      code = e.code();
      failed = true;
    } catch (const std::exception& e) {
      error = e.what();
      failed = true;
    } catch (...) {
      error = "unknown native error";
      failed = true;
    }
  }

  // First, so that it goes last: what the functions hold belongs to the session's device.
  const std::shared_ptr<Session> session;
  const Napi::Promise::Deferred deferred;
  const Napi::ObjectReference origin;
  std::function<void()> work;
  std::function<Napi::Value(Napi::Env)> result;
  std::string error;
  const char* code = nullptr;
  bool failed = false;
};

std::shared_ptr<Session> Session::open(Napi::Env env, DeviceInfo info, OpenOptions options) {
  std::shared_ptr<Session> session(new Session);
  session->env_ = env;
  session->channel_ = Channel::New(env, "latent-edge device", 0, 1, session.get());
  session->channel_.Unref(env);
  session->device_ = std::make_unique<Device>(
      std::move(info), std::move(options), [channel = session->channel_](std::unique_ptr<Job> job) {
        auto* call = static_cast<Call*>(job.release());
        channel.BlockingCall(call);  // open for as long as this thread runs
      });
  // Hooks run last in, first out: the device's thread has ended before its channel is torn down.
  napi_add_env_cleanup_hook(env, &Session::at_exit, session.get());
  return session;
}

Session::~Session() {
  close(env_);
}

void Session::at_exit(void* self) {
  auto* session = static_cast<Session*>(self);
  session->closed_ = session->disposing_ = true;
  session->device_->stop();
}

void Session::close(Napi::Env env) {
  if (closed_) return;
  closed_ = disposing_ = true;
  napi_remove_env_cleanup_hook(env, &Session::at_exit, this);
  device_->stop();
  Napi::MemoryManagement::AdjustExternalMemory(env, -reported_);
  reported_ = 0;
  channel_.Release();
}

Napi::Promise Session::submit(Napi::Env env, std::function<void()> work,
                              std::function<Napi::Value(Napi::Env)> result) {
  auto call = std::make_unique<Call>(env, shared_from_this());
  call->work = std::move(work);
  call->result = std::move(result);
  const Napi::Promise promise = call->deferred.Promise();
  if (in_flight_++ == 0) channel_.Ref(env);
  device_->post(std::move(call));
  return promise;
}

void Session::settle(Napi::Env env, Napi::Function, Session*, Call* delivered) {
  const std::unique_ptr<Call> call(delivered);
  if (env == nullptr) return;  // the environment is ending
  Session& session = *call->session;
  if (--session.in_flight_ == 0) session.channel_.Unref(env);
  if (call->failed) {
    call->deferred.Reject(call->failure(env));
  } else {
    try {
      call->deferred.Resolve(call->result(env));
    } catch (const Napi::Error& e) {
      call->deferred.Reject(e.Value());
    }
  }
  session.report_memory(env);
}

void Session::report_memory(Napi::Env env) {
  if (closed_) return;
  const int64_t held = device_->account->total();
  if (held != reported_) Napi::MemoryManagement::AdjustExternalMemory(env, held - reported_);
  reported_ = held;
}

void Session::check_open(Napi::Env env) const {
  if (disposing_) throw Napi::Error::New(env, "Device " + device_->info.id + " has been disposed");
}

Napi::Promise Session::dispose(Napi::Env env) {
  const auto deferred = Napi::Promise::Deferred::New(env);
  if (closed_) {
    deferred.Resolve(env.Undefined());
    return deferred.Promise();
  }
  disposals_.push_back(deferred);
  if (!disposing_) {
    disposing_ = true;
    submit(
        env, [this] { device_->release_all(); },
        [this](Napi::Env env) {
          close(env);
          for (const auto& waiting : disposals_) waiting.Resolve(env.Undefined());
          disposals_.clear();
          return env.Undefined();
        });
  }
  return deferred.Promise();
}

}  // namespace latent_edge
