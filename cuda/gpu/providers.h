// Who computes a product: our own kernel, or a vendor's library that is there at run time.
#pragma once

#include <map>
#include <optional>

#include "../addon/account.h"
#include "../addon/program.h"
#include "heap.h"

namespace latent_edge::gpu {

// y = x·Wᵀ + bias + residual, as libraries have it: x [rows, channels] and W [columns, channels], or a convolution of
// x [images, height, width, channels] with W [columns, kh, kw, channels]. All in `storage` (of 16 bits) but the bias.
// Where more becomes of the sums than a library does, it leaves them in float32 at the beginning of its scratch.
struct Work {
  Storage storage = Storage::f16;
  const void *x = nullptr, *weight = nullptr, *residual = nullptr;
  const float* bias = nullptr;
  void* y = nullptr;
  int64_t rows = 0;
  int columns = 0, channels = 0;
  // Of a convolution.
  bool convolution = false;
  int images = 1, height = 1, width = 1, kh = 1, kw = 1, stride = 1, top = 0, left = 0;
  int out_height = 1, out_width = 1;
  // Enqueues what becomes of the sums [rows, columns]; nothing: y is finished. With it there is no bias or residual here.
  std::function<void(Stream stream, const float* sums)> finish = nullptr;
  std::string finished_by = "";  // what that does, for shape()

  size_t sums_bytes() const {
    return finish ? (static_cast<size_t>(rows) * columns * sizeof(float) + 255) / 256 * 256 : 0;
  }
  // Where the library writes: y, or the sums.
  void* output(char* scratch) const { return finish ? scratch : y; }
  // What its time depends on.
  std::string shape() const;
};

class Provider {
 public:
  virtual ~Provider() = default;
  // With its version.
  virtual const std::string& name() const = 0;
  // Nothing where the work is not for it. `own(bytes)` gives device memory that the step is to hold.
  using Own = std::function<std::shared_ptr<void>(size_t bytes)>;
  virtual std::optional<Step> take(const Work& work, const Own& own) = 0;
};

// The libraries that can be loaded for a runtime's device; called on its thread.
std::vector<std::unique_ptr<Provider>> vendors(Runtime& runtime);

// The choice for each product of the plans that a device compiles.
class Choice {
 public:
  // `file`: keeps what was timed, by device, driver and shape; empty for none.
  Choice(Providers mode, std::string file, std::shared_ptr<Heap> heap, std::shared_ptr<Account> account);

  // `hand`, or a vendor's step for the same work. Nothing else is under way, and nobody needs what lies in y.
  Step pick(const Work& work, Step hand);

  // Who computes each shape that was asked for so far.
  const std::map<std::string, std::string>& made() const { return made_; }

 private:
  struct Candidate {
    std::string name;
    Step step;
  };
  static std::optional<Step> take(Provider& vendor, const Work& work, const Provider::Own& own);
  std::string fastest(const std::vector<Candidate>& candidates, const std::string& shape);
  double time(const Candidate& candidate);

  const Providers mode_;
  const std::string file_;
  const std::shared_ptr<Heap> heap_;
  const std::shared_ptr<Account> account_;
  std::vector<std::unique_ptr<Provider>> vendors_;
  std::map<std::string, std::string> known_;  // from the file: key → name
  std::map<std::string, std::string> made_;
};

}  // namespace latent_edge::gpu
