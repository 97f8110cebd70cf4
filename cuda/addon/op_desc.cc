// What kernel.h declares and every op uses: a plan op's accessors, and the end of a packed weight.
#include <cmath>
#include <cstdlib>

#include "../cpu/kernel.h"

namespace latent_edge {

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); i++) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

PackedWeight::~PackedWeight() {
  std::free(data);
}

namespace {

template <class T>
const T* find(const std::map<std::string, T>& map, const char* name) {
  const auto it = map.find(name);
  return it == map.end() ? nullptr : &it->second;
}

template <class T>
const T& require(const std::map<std::string, T>& map, const char* kind, const char* name) {
  if (const T* found = find(map, name)) return *found;
  std::string have;
  for (const auto& [key, value] : map) have += (have.empty() ? "" : ", ") + key;
  throw std::runtime_error("expected " + std::string(kind) + " \"" + name + "\", received " +
                           (have.empty() ? "none" : have));
}

[[noreturn]] void wrong_kind(const char* name, const char* expected, const Attr& got) {
  static const char* const kinds[] = {"a number", "a boolean", "a string", "a list of numbers"};
  throw std::runtime_error("expected " + std::string(expected) + " for attribute \"" + name +
                           "\", received " + kinds[got.index()]);
}

template <class T>
const T& value_of(const Attr& attr, const char* name, const char* expected) {
  if (const T* value = std::get_if<T>(&attr)) return *value;
  wrong_kind(name, expected, attr);
}

// Products of two of them, and a few sums, are whole numbers still.
constexpr double kMostWhole = 1 << 30;

int64_t whole(double value, const char* name) {
  if (value != std::floor(value) || std::fabs(value) > kMostWhole)
    throw std::runtime_error("expected a whole number of at most 2^30 either way for attribute \"" +
                             std::string(name) + "\", received " + std::to_string(value));
  return static_cast<int64_t>(value);
}

}  // namespace

const TensorRef& OpDesc::input(const char* name) const {
  return require(inputs, "input", name);
}
const TensorRef* OpDesc::find_input(const char* name) const {
  return find(inputs, name);
}
const WeightRef& OpDesc::weight(const char* name) const {
  return require(weights, "weight", name);
}
const WeightRef* OpDesc::find_weight(const char* name) const {
  return find(weights, name);
}

double OpDesc::number(const char* name) const {
  return value_of<double>(require(attrs, "attribute", name), name, "a number");
}

int64_t OpDesc::integer(const char* name) const {
  return whole(number(name), name);
}

bool OpDesc::flag(const char* name) const {
  const Attr* attr = find(attrs, name);
  return attr != nullptr && value_of<bool>(*attr, name, "a boolean");
}

std::string OpDesc::text(const char* name, const char* absent) const {
  const Attr* attr = find(attrs, name);
  return attr ? value_of<std::string>(*attr, name, "a string") : absent;
}

std::vector<int64_t> OpDesc::integers(const char* name) const {
  std::vector<int64_t> list;
  if (const Attr* attr = find(attrs, name))
    for (double v : value_of<std::vector<double>>(*attr, name, "a list of whole numbers"))
      list.push_back(whole(v, name));
  return list;
}

}  // namespace latent_edge
