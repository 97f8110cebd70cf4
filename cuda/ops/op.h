// One op of a plan: its tensors, weights and attributes, as every backend binds it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace latent_edge {

using Shape = std::vector<int64_t>;

inline int64_t elements(const Shape& s) {
  int64_t n = 1;
  for (int64_t d : s) n *= d;
  return n;
}

std::string to_string(const Shape& s);  // "[2, 64, 64, 320]"

enum class DType { f32, i32 };

// A tensor in the arena: dense, row-major.
struct TensorRef {
  DType dtype = DType::f32;
  Shape shape;
  size_t offset = 0;  // bytes
};

// Checkpoint tensors joined along their first dimension; shape is that of the whole.
struct WeightRef {
  std::vector<std::string> names;
  Shape shape;
};

using Attr = std::variant<double, bool, std::string, std::vector<double>>;

// One op of a plan. Accessors throw std::runtime_error with what was expected and what came.
struct OpDesc {
  std::string op, scope;
  std::map<std::string, TensorRef> inputs;
  std::map<std::string, WeightRef> weights;
  std::map<std::string, Attr> attrs;
  TensorRef output;

  const TensorRef& input(const char* name) const;        // required
  const TensorRef* find_input(const char* name) const;   // nullptr where absent
  const WeightRef& weight(const char* name) const;       // required
  const WeightRef* find_weight(const char* name) const;  // nullptr where absent
  int64_t integer(const char* name) const;               // required attribute, whole number
  double number(const char* name) const;                 // required attribute
  bool flag(const char* name) const;                     // absent: false
  std::string text(const char* name, const char* absent) const;
  std::vector<int64_t> integers(const char* name) const;  // absent: empty
};

}  // namespace latent_edge
