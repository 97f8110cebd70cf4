#include "js_values.h"

#include <cmath>

namespace latent_edge {

std::string describe(Napi::Value value) {
  if (value.IsString()) {
    std::string text = value.As<Napi::String>();
    if (text.size() > 60) text = text.substr(0, 60) + "…";
    return "the string \"" + text + "\"";
  }
  if (value.IsObject() && !value.IsFunction()) {
    const Napi::Value maker = value.As<Napi::Object>().Get("constructor");
    std::string name;
    if (maker.IsFunction()) name = maker.As<Napi::Object>().Get("name").ToString();
    if (name.empty()) return "an object";
    return (std::string("AEIO").find(name[0]) == std::string::npos ? "a " : "an ") + name;
  }
  if (value.IsSymbol()) return "a symbol";
  if (value.IsFunction()) return "a function";
  return value.ToString();
}

void Field::wrong(const std::string& expected) const {
  throw Napi::TypeError::New(value_.Env(),
                             "Expected " + expected + " for " + path_ + " but received " + describe(value_));
}

Field Field::operator[](const std::string& key) const {
  if (!value_.IsObject()) wrong("an object");
  return {value_.As<Napi::Object>().Get(key), path_ + "." + key};
}

std::vector<Field> Field::items() const {
  if (!value_.IsArray()) wrong("an array");
  const Napi::Array array = value_.As<Napi::Array>();
  std::vector<Field> items;
  items.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++)
    items.emplace_back(array.Get(i), path_ + "[" + std::to_string(i) + "]");
  return items;
}

std::vector<std::string> Field::keys() const {
  if (!value_.IsObject()) wrong("an object");
  const Napi::Array names = value_.As<Napi::Object>().GetPropertyNames();
  std::vector<std::string> keys;
  for (uint32_t i = 0; i < names.Length(); i++) keys.push_back(names.Get(i).ToString());
  return keys;
}

int64_t Field::integer(int64_t least, int64_t most) const {
  if (!value_.IsNumber()) wrong("an integer");
  const double v = value_.As<Napi::Number>();
  if (!(v >= static_cast<double>(least) && v <= static_cast<double>(most)) || v != std::floor(v))
    throw Napi::RangeError::New(value_.Env(), "Expected an integer from " + std::to_string(least) + " to " +
                                                  std::to_string(most) + " for " + path_ + " but received " +
                                                  describe(value_));
  return static_cast<int64_t>(v);
}

double Field::number() const {
  if (!value_.IsNumber()) wrong("a number");
  return value_.As<Napi::Number>();
}

bool Field::boolean() const {
  if (!value_.IsBoolean()) wrong("a boolean");
  return value_.As<Napi::Boolean>();
}

std::string Field::text() const {
  if (!value_.IsString()) wrong("a string");
  return value_.As<Napi::String>();
}

Shape Field::shape() const {
  Shape shape;
  for (const Field& d : items()) shape.push_back(d.integer(0, kMaxSafe));
  return shape;
}

}  // namespace latent_edge
