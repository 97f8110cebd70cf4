#include "js_classes.h"

namespace latent_edge {

namespace {

std::string of_plan(const PlanDesc& plan) {
  return " of plan \"" + plan.name + "\"";
}

std::string names(const std::vector<NamedTensor>& tensors) {
  std::string text;
  for (const NamedTensor& t : tensors) text += (text.empty() ? "" : ", ") + t.name;
  return text.empty() ? "none" : text;
}

std::string elements_of(const NamedTensor& to) {
  return std::to_string(tensor_bytes(to) / 4) + " elements " + to_string(to.shape);
}

void check_count(Napi::Env env, const Field& field, const NamedTensor& to, size_t received) {
  if (received != tensor_bytes(to) / 4)
    throw Napi::RangeError::New(env, "Expected " + elements_of(to) + " for " + field.path() +
                                         " but received " + std::to_string(received));
}

// Values of an array or a tensor of the type of `to`, however many they are.
InputPart read_part(const Field& field, const NamedTensor& to, const Session& session,
                    const std::string& otherwise) {
  const Napi::Value value = field.value();
  const bool integers = to.dtype == DType::i32;
  const std::string expected =
      std::string(integers ? "an Int32Array" : "a Float32Array") + " or a NativeTensor";
  InputPart part;
  if (JsTensor::is(value)) {
    part.tensor = JsTensor::from(field, session);
    if (part.tensor->dtype != to.dtype)
      throw Napi::TypeError::New(value.Env(), "Expected " + expected + " of " + to_string(to.dtype) +
                                                  " for " + field.path() + " but received one of " +
                                                  to_string(part.tensor->dtype));
    return part;
  }
  if (!value.IsTypedArray() ||
      value.As<Napi::TypedArray>().TypedArrayType() != (integers ? napi_int32_array : napi_float32_array))
    field.wrong(expected + otherwise);
  const auto array = value.As<Napi::TypedArray>();
  const char* data =
      static_cast<const char*>(integers ? static_cast<void*>(value.As<Napi::Int32Array>().Data())
                                        : value.As<Napi::Float32Array>().Data());
  part.data.assign(data, data + 4 * array.ElementLength());
  return part;
}

// That a part is whole rows of `to`: of a tensor, rows of the same shape.
void check_rows(Napi::Env env, const Field& field, const NamedTensor& to, const InputPart& part) {
  const Shape row(to.shape.begin() + (to.shape.empty() ? 0 : 1), to.shape.end());
  const size_t count = static_cast<size_t>(elements(row));
  const bool fits = part.tensor ? !part.tensor->shape.empty() &&
                                      Shape(part.tensor->shape.begin() + 1, part.tensor->shape.end()) == row
                                : part.count() > 0 && part.count() % count == 0;
  if (fits) return;
  throw Napi::RangeError::New(env, "Expected whole rows of " + to_string(row) + " for " + field.path() +
                                       " but received " +
                                       (part.tensor ? "a NativeTensor " + to_string(part.tensor->shape)
                                                    : std::to_string(part.count()) + " elements"));
}

ProgramInput read_input(const Field& field, const NamedTensor& to, size_t index, const Session& session) {
  const Napi::Env env = field.value().Env();
  ProgramInput input;
  input.index = index;
  if (!field.value().IsArray()) {
    input.parts.push_back(read_part(field, to, session, ", or a list of them,"));
    check_count(env, field, to, input.parts[0].count());
    return input;
  }
  size_t received = 0;
  const Napi::Array list = field.value().As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Field item(list.Get(i), "part " + std::to_string(i) + " of " + field.path());
    input.parts.push_back(read_part(item, to, session, ""));
    check_rows(env, item, to, input.parts.back());
    received += input.parts.back().count();
  }
  check_count(env, field, to, received);
  return input;
}

std::vector<ProgramInput> read_inputs(Napi::Value value, const PlanDesc& plan, const Session& session) {
  const Field inputs(value, "inputs" + of_plan(plan));
  const std::vector<std::string> given = inputs.keys();
  for (const std::string& name : given) {
    bool known = false;
    for (const NamedTensor& t : plan.inputs) known = known || t.name == name;
    if (!known)
      throw Napi::RangeError::New(
          value.Env(), "Unknown input \"" + name + "\"" + of_plan(plan) + ": it has " + names(plan.inputs));
  }
  std::vector<ProgramInput> list;
  for (size_t i = 0; i < plan.inputs.size(); i++) {
    const std::string& name = plan.inputs[i].name;
    const Napi::Value given_value = inputs[name].value();
    if (given_value.IsUndefined())
      throw Napi::TypeError::New(value.Env(), "Missing input \"" + name + "\"" + of_plan(plan));
    list.push_back(
        read_input(Field(given_value, "input \"" + name + "\"" + of_plan(plan)), plan.inputs[i], i, session));
  }
  return list;
}

// Which ops to run and which tensors to bring home.
void read_options(Napi::Value value, const PlanDesc& plan, RunRequest& request) {
  request.ops = plan.ops.size();
  const Field options(value, "options");
  const bool given = !options.absent();
  if (const Field until = given ? options["until"] : options; !until.absent()) {
    if (plan.ops.empty()) until.wrong("no op, as the plan has none,");
    const size_t op = static_cast<size_t>(until.integer(0, static_cast<int64_t>(plan.ops.size()) - 1));
    const TensorRef& output = plan.ops[op].output;
    if (output.dtype != DType::f32)
      throw Napi::TypeError::New(value.Env(), "Expected an op with a float32 output for options.until but " +
                                                  where(plan, op) + " has int32");
    request.ops = op + 1;
    request.outputs.push_back({"until", output, false, {}, nullptr});
  } else {
    for (const NamedTensor& t : plan.outputs) request.outputs.push_back({t.name, t, false, {}, nullptr});
  }
  if (const Field keep = given ? options["keep"] : options; !keep.absent()) {
    for (const Field& item : keep.items()) {
      bool known = false;
      for (ProgramOutput& output : request.outputs)
        if (output.name == item.text()) known = output.keep = true;
      if (!known)
        throw Napi::RangeError::New(value.Env(), "Unknown output \"" + item.text() + "\"" + of_plan(plan) +
                                                     " for " + item.path() + ": it has " +
                                                     names(plan.outputs));
    }
  }
}

Napi::Value output_to_js(Napi::Env env, const std::shared_ptr<Session>& session,
                         const ProgramOutput& output) {
  if (output.keep) return JsTensor::make(env, session, output.tensor);
  auto array = Napi::Float32Array::New(env, output.data.size());
  std::copy(output.data.begin(), output.data.end(), array.Data());
  return array;
}

}  // namespace

Napi::Function JsProgram::define(Napi::Env env) {
  return DefineClass(
      env, "NativeProgram",
      {InstanceMethod<&JsProgram::run>("run"), InstanceMethod<&JsProgram::dispose>("dispose")});
}

Napi::Object JsProgram::make(Napi::Env env, std::shared_ptr<Session> session,
                             std::shared_ptr<Program> program) {
  return make_object<Program>(env, Classes::of(env).program, {std::move(session), std::move(program)});
}

JsProgram::JsProgram(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  auto& made = Made<Program>::from(info, "compile");
  session_ = std::move(made.session);
  program_ = std::move(made.resource);
}

Napi::Value JsProgram::run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return promised(env, [&] {
    session_->check_open(env);
    const PlanDesc& plan = program_->plan();
    if (disposed_) throw Napi::Error::New(env, "Plan \"" + plan.name + "\" has been disposed");
    auto request = std::make_shared<RunRequest>();
    read_options(info[1], plan, *request);
    request->inputs = read_inputs(info[0], plan, *session_);
    Session* session = session_.get();
    return session_->submit(
        env,
        [=, program = program_] {
          session->device().run(*program, *request);
          request->inputs.clear();
        },
        [=](Napi::Env env) {
          Napi::Object outputs = Napi::Object::New(env);
          for (const ProgramOutput& output : request->outputs)
            outputs.Set(output.name, output_to_js(env, session->shared_from_this(), output));
          return outputs;
        });
  });
}

Napi::Value JsProgram::dispose(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return promised(env, [&]() -> Napi::Value {
    disposed_ = true;
    if (session_->disposed()) return session_->dispose(env);
    return session_->submit(
        env, [program = program_] { program->release(); }, [](Napi::Env env) { return env.Undefined(); });
  });
}

}  // namespace latent_edge
