#include "js_plan.h"

#include <cmath>

namespace latent_edge {

namespace {

TensorRef tensor(const Field& field) {
  const Field dtype = field["dtype"];
  const std::string name = dtype.text();
  if (name != "f32" && name != "i32") dtype.wrong("f32 or i32");
  return {name == "f32" ? DType::f32 : DType::i32, field["shape"].shape(), field["offset"].bytes()};
}

std::vector<NamedTensor> named_tensors(const Field& field) {
  std::vector<NamedTensor> list;
  for (const Field& item : field.items()) list.push_back({tensor(item), item["name"].text()});
  return list;
}

Attr attribute(const Field& field) {
  const Napi::Value value = field.value();
  if (value.IsNumber()) return field.number();
  if (value.IsBoolean()) return field.boolean();
  if (value.IsString()) return field.text();
  if (!value.IsArray()) field.wrong("a number, a boolean, a string or an array of numbers");
  std::vector<double> list;
  for (const Field& item : field.items()) list.push_back(item.number());
  return list;
}

OpDesc op_desc(const Field& field) {
  OpDesc op;
  op.op = field["op"].text();
  op.scope = field["scope"].text();
  const Field inputs = field["inputs"], weights = field["weights"], attrs = field["attrs"];
  for (const std::string& name : inputs.keys()) op.inputs[name] = tensor(inputs[name]);
  for (const std::string& name : weights.keys()) {
    WeightRef& ref = op.weights[name];
    for (const Field& item : weights[name]["names"].items()) ref.names.push_back(item.text());
    ref.shape = weights[name]["shape"].shape();
  }
  for (const std::string& name : attrs.keys())
    if (!attrs[name].absent()) op.attrs[name] = attribute(attrs[name]);
  op.output = tensor(field["output"]);
  return op;
}

Element element(const Field& field) {
  const std::string name = field.text();
  if (name == "F32") return Element::f32;
  if (name == "F16") return Element::f16;
  if (name == "BF16") return Element::bf16;
  field.wrong("F32, F16 or BF16");
}

WeightSource weight_source(const Field& field) {
  WeightSource source;
  source.name = field["name"].text();
  source.element = element(field["dtype"]);
  source.shape = field["shape"].shape();
  const Field transposed = field["transposed"], data = field["data"];
  source.transposed = !transposed.absent() && transposed.boolean();
  if (source.transposed && source.shape.size() != 2) transposed.wrong("false, as it is no matrix,");
  const Field int8 = field["int8"];
  source.eight_bits = !int8.absent() && int8.boolean();
  if (data.absent()) {
    source.file = field["file"].text();
    if (source.file.empty()) field["file"].wrong("a path");
    source.offset = field["offset"].bytes();
    return source;
  }
  if (source.element != Element::f32) field["dtype"].wrong("F32 (with data)");
  if (!data.value().IsTypedArray() ||
      data.value().As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
    data.wrong("a Float32Array");
  const auto array = data.value().As<Napi::Float32Array>();
  if (array.ElementLength() * sizeof(float) != source.bytes())
    throw Napi::RangeError::New(
        field.value().Env(), "Expected as many elements as shape " + to_string(source.shape) + " has for " +
                                 data.path() + " but received " + std::to_string(array.ElementLength()));
  source.data.assign(array.Data(), array.Data() + array.ElementLength());
  return source;
}

DeltaFactor delta_factor(const Field& field) {
  DeltaFactor factor;
  const auto read = [&](const char* name) { return std::optional(weight_source(field[name])); };
  if (!field["whole"].absent()) {
    factor.whole = read("whole");
    return factor;
  }
  factor.up = read("up");
  factor.down = read("down");
  if (!field["mid"].absent()) factor.mid = read("mid");
  return factor;
}

Combine combine(const Field& field) {
  if (field.absent()) return Combine::none;
  const std::string name = field.text();
  if (name == "hadamard") return Combine::hadamard;
  if (name == "kronecker") return Combine::kronecker;
  field.wrong("hadamard or kronecker");
}

WeightDelta weight_delta(const Field& field) {
  WeightDelta delta;
  delta.weight = field["weight"].text();
  delta.scale = field["scale"].number();
  if (!std::isfinite(delta.scale)) field["scale"].wrong("a finite number");
  delta.combine = combine(field["combine"]);
  for (const Field& item : field["factors"].items()) delta.factors.push_back(delta_factor(item));
  if (delta.factors.size() != (delta.combine == Combine::none ? 1 : 2))
    field["factors"].wrong(delta.combine == Combine::none ? "one factor" : "two factors");
  return delta;
}

}  // namespace

PlanDesc plan_from_js(Napi::Value value) {
  const Field field(value, "plan");
  field["version"].integer(1, 1);
  PlanDesc plan;
  plan.name = field["name"].text();
  plan.arena_bytes = field["arenaBytes"].bytes();
  plan.inputs = named_tensors(field["inputs"]);
  plan.outputs = named_tensors(field["outputs"]);
  for (const Field& item : field["ops"].items()) plan.ops.push_back(op_desc(item));
  return plan;
}

std::vector<WeightSource> sources_from_js(Napi::Value value) {
  std::vector<WeightSource> list;
  for (const Field& item : Field(value, "sources").items()) list.push_back(weight_source(item));
  return list;
}

std::vector<WeightDelta> deltas_from_js(const Field& field) {
  std::vector<WeightDelta> list;
  for (const Field& item : field.items()) list.push_back(weight_delta(item));
  return list;
}

}  // namespace latent_edge
