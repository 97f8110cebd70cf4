// A plan bound to weights, as its device runs it.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint.h"
#include "convert.h"
#include "plan.h"
#include "tensor.h"

namespace latent_edge {

// Rows of an input, one after the other: values, or a tensor of the device's.
struct InputPart {
  std::vector<char> data;
  std::shared_ptr<Tensor> tensor;  // instead of data
  size_t count() const { return tensor ? static_cast<size_t>(elements(tensor->shape)) : data.size() / 4; }
};

struct ProgramInput {
  size_t index = 0;              // into plan().inputs
  std::vector<InputPart> parts;  // together as many elements as the input has
};

struct ProgramOutput {
  std::string name;
  TensorRef ref;
  bool keep = false;  // as a tensor
  std::vector<float> data;
  std::shared_ptr<Tensor> tensor;
};

struct RunRequest {
  std::vector<ProgramInput> inputs;    // each of the plan's
  std::vector<ProgramOutput> outputs;  // filled in by the run
  size_t ops = 0;                      // how many of the plan's to run
};

struct CompileOptions {
  bool reference = false;        // plain kernels
  bool poison = false;           // NaN in the arena and scratch before each run
  Element dtype = Element::f32;  // what each op's output is rounded to, or kept in
};

// Who computes products on a GPU: our own kernels, a vendor's libraries where they can, or whoever is faster.
enum class Providers { hand, vendor, automatic };

struct OpenOptions {
  CompileOptions compile;
  Providers providers = Providers::hand;
  std::string choices_file;  // where `automatic` keeps what it found; empty: nowhere
  int64_t lose_after = -1;   // tests: the device is lost after so many runs; negative: never
  int64_t hang_after = -1;   // tests: likewise, but it does not say so, and does not end
};

// Constructed, run and released on the device's thread.
class Program : public Resource {
 public:
  explicit Program(PlanDesc plan) : plan_(std::move(plan)) {}

  const PlanDesc& plan() const { return plan_; }

  // Throws std::runtime_error naming the op; a run that `stop` interrupts between two ops throws too. Tensors are
  // those of the same device.
  virtual void run(RunRequest& request, const std::atomic<bool>& stop) = 0;

 protected:
  const PlanDesc plan_;
};

}  // namespace latent_edge
