// A plan of any ops, shapes, offsets and attributes is refused, or runs within its arena and scratch.
//   arena 65536
//   op conv2d
//   in x f32 0 2 8 8 4
//   weight weight 64 4 3 3 | weight8 weight 64 4 3 3 (to be kept in 8 bits)
//   number stride 1 | numbers padding 1 1 1 1 | flag causal 1 | text fn silu
//   out f32 8192 2 8 8 64
#include <cmath>
#include <map>

#include "../addon/checkpoint.h"
#include "../addon/thread_pool.h"
#include "../cpu/program.h"
#include "words.h"

using namespace latent_edge;

namespace {

constexpr size_t kMost = size_t{1} << 20;  // bytes of an arena, floats of a weight
constexpr double kWork = 1 << 24;          // products of sizes, beyond which an op takes too long here

TensorRef tensor(Words& words) {
  const DType type = words.text() == "i32" ? DType::i32 : DType::f32;
  const size_t offset = static_cast<size_t>(words.integer());
  return {type, words.shape(), offset};
}

PlanDesc plan_of(const std::string& text) {
  PlanDesc plan;
  plan.name = "fuzz";
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    Words words(line);
    const std::string what = words.text();
    if (what == "arena") plan.arena_bytes = static_cast<size_t>(words.integer());
    if (what == "op" && plan.ops.size() < 4) plan.ops.push_back({.op = words.text(), .scope = "here"});
    if (plan.ops.empty()) continue;
    OpDesc& op = plan.ops.back();
    if (what == "out") op.output = tensor(words);
    if (what != "in" && what != "weight" && what != "weight8" && what != "number" && what != "numbers" &&
        what != "flag" && what != "text")
      continue;
    const std::string name = words.text();
    if (what == "in") op.inputs[name] = tensor(words);
    if (what == "weight" || what == "weight8") op.weights[name] = {{what}, words.shape()};
    if (what == "number") op.attrs[name] = words.number();
    if (what == "flag") op.attrs[name] = words.integer() != 0;
    if (what == "text") op.attrs[name] = words.text();
    if (what == "numbers") {
      std::vector<double> list;
      for (int64_t each : words.shape()) list.push_back(static_cast<double>(each));
      op.attrs[name] = list;
    }
  }
  return plan;
}

double size_of(const Shape& shape) {
  double size = 1;
  for (int64_t d : shape) size *= std::abs(static_cast<double>(d));
  return size;
}

// Any weight, of ones; narrow ones in halves.
class Ones final : public WeightStore {
 public:
  std::shared_ptr<const PackedWeight> get(const WeightRef& ref, const std::string&, size_t floats,
                                          const std::function<void(const float*, float*)>& fill) override {
    auto packed = empty(ref, floats, Element::f32);
    const std::vector<float> raw(static_cast<size_t>(elements(ref.shape)), 1.0f);
    fill(raw.data(), packed->data);
    return packed;
  }

  std::shared_ptr<const PackedWeight> get_narrow(const WeightRef& ref, const std::string&, size_t count,
                                                 const std::function<void(Element, const void*, void*)>& fill,
                                                 std::optional<Element> as) override {
    constexpr uint16_t kOne = 0x3c00;
    auto packed = empty(ref, count, as.value_or(Element::f16));
    const std::vector<uint16_t> raw(static_cast<size_t>(elements(ref.shape)), kOne);
    fill(Element::f16, raw.data(), packed->data);
    return packed;
  }

  bool in_eight_bits(const WeightRef& ref) const override { return ref.names[0] == "weight8"; }

 private:
  static std::shared_ptr<PackedWeight> empty(const WeightRef& ref, size_t count, Element element) {
    if (size_of(ref.shape) > kMost || count > 4 * kMost) throw std::bad_alloc();
    auto packed = std::make_shared<PackedWeight>();
    packed->bytes = count * element_bytes(element);
    packed->data = static_cast<float*>(allocate_aligned(packed->bytes, "a weight"));
    packed->element = element;
    return packed;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static SpinningThreadPool pool(1);
  static const auto account = std::make_shared<Account>();
  PlanDesc plan = plan_of({reinterpret_cast<const char*>(data), size});
  if (plan.arena_bytes > kMost) return 0;
  for (const OpDesc& op : plan.ops) {
    double work = size_of(op.output.shape);
    for (const auto& [name, weight] : op.weights) work *= std::max(1.0, size_of(weight.shape) / 64);
    for (const auto& [name, input] : op.inputs) work = std::max(work, size_of(input.shape));
    if (work > kWork) return 0;
  }
  for (const bool reference : {false, true}) {
    try {
      Ones weights;
      Scratch arenas(account, &Account::arenas, "the arena of a plan");
      Scratch scratch(account, &Account::scratch, "scratch");
      RunRequest request{.ops = plan.ops.size()};
      CpuProgram program(plan, weights, pool, arenas, scratch, account,
                         {.reference = reference, .poison = true});
      program.run(request, std::atomic<bool>(false));
    } catch (const std::exception&) {
    }
  }
  return 0;
}
