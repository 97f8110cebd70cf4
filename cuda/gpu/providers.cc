#include "providers.h"

#include <algorithm>
#include <fstream>

#include "../addon/error.h"

namespace latent_edge::gpu {
namespace {

// Which of our kernels were timed: another number, once they are faster, has every shape timed anew.
constexpr const char* kKernels = "kernels 2";

}  // namespace

std::string Work::shape() const {
  std::string text = storage == Storage::bf16 ? "bf16" : "f16";
  const auto add = [&](int64_t n) { (text += ' ') += std::to_string(n); };
  for (int64_t n : {rows, int64_t{columns}, int64_t{channels}}) add(n);
  if (convolution)
    for (int n : {images, height, width, kh, kw, stride, top, left}) add(n);
  return text + (bias ? " bias" : "") + (residual ? " residual" : "") + finished_by;
}

// Lines of "device, driver, kernels and libraries<tab>shape<tab>name"; others are passed over.
Choice::Choice(Providers mode, std::string file, std::shared_ptr<Heap> heap, std::shared_ptr<Account> account)
    : mode_(mode), file_(std::move(file)), heap_(std::move(heap)), account_(std::move(account)) {
  if (mode_ == Providers::hand) return;
  vendors_ = vendors(heap_->runtime());
  if (mode_ != Providers::automatic || file_.empty()) return;
  std::ifstream in(file_);
  for (std::string line; std::getline(in, line);) {
    const size_t tab = line.rfind('\t');
    if (tab != std::string::npos) known_[line.substr(0, tab)] = line.substr(tab + 1);
  }
}

Step Choice::pick(const Work& work, Step hand) {
  if (vendors_.empty()) return hand;
  const Provider::Own own = [this](size_t bytes) {
    struct Held {
      std::shared_ptr<Account> account;
      Memory memory;
    };
    auto held =
        std::make_shared<Held>(account_, Memory(heap_, bytes, "a library's numbers", &account_->weights));
    void* const data = held->memory.data();
    return std::shared_ptr<void>(std::move(held), data);
  };
  std::vector<Candidate> candidates;
  candidates.push_back({"hand", std::move(hand)});
  for (const auto& vendor : vendors_)
    if (auto step = take(*vendor, work, own)) candidates.push_back({vendor->name(), std::move(*step)});

  const std::string shape = work.shape();
  std::string name = candidates[candidates.size() > 1 ? 1 : 0].name;
  if (mode_ == Providers::automatic && candidates.size() > 1) name = fastest(candidates, shape);
  made_[shape] = name;
  const auto chosen = std::find_if(candidates.begin(), candidates.end(),
                                   [&](const Candidate& candidate) { return candidate.name == name; });
  return std::move(chosen->step);
}

// A library that fails at describing the work does not do it.
std::optional<Step> Choice::take(Provider& vendor, const Work& work, const Provider::Own& own) {
  std::optional<Step> step;
  try {
    step = vendor.take(work, own);
  } catch (const CodedError&) {
    throw;
  } catch (const std::exception&) {
    return std::nullopt;
  }
  if (step && work.finish)
    step->launch = [launch = std::move(step->launch), finish = work.finish](Stream stream, char* scratch) {
      launch(stream, scratch);
      finish(stream, reinterpret_cast<const float*>(scratch));
    };
  return step;
}

std::string Choice::fastest(const std::vector<Candidate>& candidates, const std::string& shape) {
  std::string where = heap_->runtime().identity() + ", " + kKernels;
  for (const Candidate& candidate : candidates) where += ", " + candidate.name;
  const std::string key = where + '\t' + shape;
  const auto known = known_.find(key);
  if (known != known_.end())
    for (const Candidate& candidate : candidates)
      if (candidate.name == known->second) return known->second;

  std::string best;
  double least = 0;
  for (const Candidate& candidate : candidates) {
    const double milliseconds = time(candidate);
    if (milliseconds >= 0 && (best.empty() || milliseconds < least))
      least = milliseconds, best = candidate.name;
  }
  if (best.empty()) best = candidates.front().name;
  known_[key] = best;
  // One write, so that lines of several processes do not mix. Where it cannot be written it is timed again.
  if (!file_.empty()) std::ofstream(file_, std::ios::app) << key + '\t' + best + '\n' << std::flush;
  return best;
}

// Negative for a library that fails: whoever is left is taken, and an error of our own kernel shows at the first run.
double Choice::time(const Candidate& candidate) {
  Memory scratch;
  if (candidate.step.scratch_bytes > 0)
    scratch = Memory(heap_, candidate.step.scratch_bytes, "scratch of what is timed", &account_->scratch);
  try {
    return heap_->runtime().time([&] { candidate.step.launch(heap_->runtime().stream(), scratch.data()); });
  } catch (const CodedError&) {
    throw;
  } catch (const std::exception&) {
    return -1;
  }
}

}  // namespace latent_edge::gpu
