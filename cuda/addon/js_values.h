// Reading JavaScript values with errors that say where and what: "Expected X for name but received Y".
#pragma once

#include <napi.h>

#include <optional>
#include <string>
#include <vector>

#include "../cpu/kernel.h"

namespace latent_edge {

// "undefined", "the string \"abc\"", "12", "an Int32Array"
std::string describe(Napi::Value value);

// A value and the path that led to it. Readers throw Napi::TypeError, or RangeError for numbers.
class Field {
 public:
  Field(Napi::Value value, std::string path) : value_(value), path_(std::move(path)) {}

  Napi::Value value() const { return value_; }
  const std::string& path() const { return path_; }
  bool absent() const { return value_.IsUndefined() || value_.IsNull(); }

  Field operator[](const std::string& key) const;  // of an object
  std::vector<Field> items() const;                // of an array
  std::vector<std::string> keys() const;           // of an object, its own

  int64_t integer(int64_t least, int64_t most) const;
  size_t bytes() const { return static_cast<size_t>(integer(0, kMaxSafe)); }
  double number() const;
  bool boolean() const;
  std::string text() const;
  Shape shape() const;

  [[noreturn]] void wrong(const std::string& expected) const;

  static constexpr int64_t kMaxSafe = (int64_t{1} << 53) - 1;

 private:
  Napi::Value value_;
  std::string path_;
};

inline Napi::Array to_js(Napi::Env env, const Shape& shape) {
  Napi::Array array = Napi::Array::New(env, shape.size());
  for (size_t i = 0; i < shape.size(); i++)
    array.Set(static_cast<uint32_t>(i), static_cast<double>(shape[i]));
  return array;
}

// A promise rejected with what body throws, or what body returns.
template <class Body>
Napi::Value promised(Napi::Env env, Body body) {
  const auto rejected = [&](Napi::Value reason) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(reason);
    return deferred.Promise();
  };
  try {
    return body();
  } catch (const Napi::Error& e) {
    return rejected(e.Value());
  } catch (const std::exception& e) {
    return rejected(Napi::Error::New(env, e.what()).Value());
  }
}

}  // namespace latent_edge
