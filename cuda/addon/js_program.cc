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

void check_count(Napi::Env env, const Field& field, const NamedTensor& to, size_t received) {
  const size_t expected = tensor_bytes(to) / 4;
  if (received != expected)
    throw Napi::RangeError::New(env, "Expected " + std::to_string(expected) + " elements " +
                                         to_string(to.shape) + " for " + field.path() + " but received " +
                                         std::to_string(received));
}

ProgramInput read_input(const Field& field, const NamedTensor& to, size_t index, const Session& session) {
  const Napi::Value value = field.value();
  const bool integers = to.dtype == DType::i32;
  const std::string expected =
      std::string(integers ? "an Int32Array" : "a Float32Array") + " or a NativeTensor";
  ProgramInput input;
  input.index = index;
  if (JsTensor::is(value)) {
    input.tensor = JsTensor::from(field, session);
    if (input.tensor->dtype != to.dtype)
      throw Napi::TypeError::New(value.Env(), "Expected " + expected + " of " + to_string(to.dtype) +
                                                  " for " + field.path() + " but received one of " +
                                                  to_string(input.tensor->dtype));
    check_count(value.Env(), field, to, static_cast<size_t>(elements(input.tensor->shape)));
    return input;
  }
  if (!value.IsTypedArray() ||
      value.As<Napi::TypedArray>().TypedArrayType() != (integers ? napi_int32_array : napi_float32_array))
    field.wrong(expected);
  const auto array = value.As<Napi::TypedArray>();
  check_count(value.Env(), field, to, array.ElementLength());
  const char* data =
      static_cast<const char*>(integers ? static_cast<void*>(value.As<Napi::Int32Array>().Data())
                                        : value.As<Napi::Float32Array>().Data());
  input.data.assign(data, data + tensor_bytes(to));
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
