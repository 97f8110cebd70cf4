// Who computes products beside our kernels on the emulator: libraries that it pretends to have, to test who is chosen.
// Each computes products right, in plain loops, and says how long it took. With LATENT_EDGE_EMULATED_LIBRARIES, a
// folder, those that the vendors' code finds there instead: stand-ins of cuBLASLt and cuDNN (../stand_ins).
#include "../gpu/providers.h"

#include <cstdlib>

#include "../gpu/vendors.h"
#include "grid.h"
#include "half.h"
#include "stream.h"

namespace latent_edge::gpu {

namespace {

template <class T>
void multiply(const Work& work, char* scratch) {
  const T *x = static_cast<const T*>(work.x), *w = static_cast<const T*>(work.weight),
          *residual = static_cast<const T*>(work.residual);
  for (int64_t m = 0; m < work.rows; m++)
    for (int n = 0; n < work.columns; n++) {
      float sum = work.bias ? work.bias[n] : 0;
      for (int k = 0; k < work.channels; k++)
        sum += to_float(x[m * work.channels + k]) * to_float(w[int64_t{n} * work.channels + k]);
      const int64_t at = m * work.columns + n;
      if (work.finish)
        static_cast<float*>(work.output(scratch))[at] = sum;
      else
        static_cast<T*>(work.y)[at] = from_float<T>(sum + (residual ? to_float(residual[at]) : 0));
    }
}

class Pretended final : public Provider {
 public:
  using Takes = bool (*)(const Work&);
  // `threads`: that it takes the time of; 0: it fails.
  Pretended(std::string name, uint64_t threads, Takes takes)
      : name_(std::move(name)), threads_(threads), takes_(takes) {}
  const std::string& name() const override { return name_; }

  std::optional<Step> take(const Work& work, const Own& own) override {
    if (work.convolution || !takes_(work)) return std::nullopt;
    const auto run = [work, threads = threads_, scratch = own(1)](Stream stream, char* scratch_bytes) {
      if (threads == 0) throw std::runtime_error("this library fails");
      reinterpret_cast<emulator::Stream*>(stream)->enqueue([=] {
        emulator::elapsed += threads;
        work.storage == Storage::f16 ? multiply<f16>(work, scratch_bytes)
                                     : multiply<bf16>(work, scratch_bytes);
      });
    };
    return Step{run, work.sums_bytes()};
  }

 private:
  const std::string name_;
  const uint64_t threads_;
  const Takes takes_;
};

}  // namespace

std::vector<std::unique_ptr<Provider>> vendors(Runtime& runtime) {
  std::vector<std::unique_ptr<Provider>> all;
  if (const char* folder = std::getenv("LATENT_EDGE_EMULATED_LIBRARIES")) {
    for (const auto open : {open_cublaslt, open_cudnn})
      if (auto vendor = open(runtime, folder)) all.push_back(std::move(vendor));
    return all;
  }
  const auto add = [&](const char* name, uint64_t threads, Pretended::Takes takes) {
    all.push_back(std::make_unique<Pretended>(name, threads, takes));
  };
  add("quick", 1, [](const Work& work) { return work.rows % 2 == 0; });
  add("slow", uint64_t{1} << 40, [](const Work&) { return true; });
  add("failing", 0, [](const Work&) { return true; });
  return all;
}

}  // namespace latent_edge::gpu
