// Tensors and adapters of any kind, in a file of any content, are refused, or read within the file.
//   source a f16 0 4 8 | transposed a f32 0 4 8
//   delta a 0.5 none
//   up f16 64 4 2 | down f16 80 2 8 | mid … | whole …
// An empty line; then the file.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "../addon/checkpoint.h"
#include "../addon/thread_pool.h"
#include "words.h"

using namespace latent_edge;

namespace {

constexpr double kMost = 1 << 20;  // elements of a tensor, beyond which it takes too long here

Element element(const std::string& name) {
  return name == "f16" ? Element::f16 : name == "bf16" ? Element::bf16 : Element::f32;
}

bool fits(const Shape& shape) {
  double size = 1;
  for (int64_t d : shape) size *= static_cast<double>(d);
  return size <= kMost;
}

// As a plan's weights are by the time that they are asked for.
bool is_checked(const Shape& shape) {
  return fits(shape) &&
         std::all_of(shape.begin(), shape.end(), [](int64_t d) { return d >= 1 && d <= kMost; });
}

struct Input {
  std::vector<WeightSource> sources;
  std::vector<WeightDelta> deltas;
  bool is_small = true;
};

WeightSource source_of(const std::string& name, Words& words, const std::string& file, Input& input) {
  WeightSource source;
  source.name = name;
  source.element = element(words.text());
  source.file = file;
  source.offset = static_cast<size_t>(words.integer());
  source.shape = words.shape();
  input.is_small = input.is_small && fits(source.shape);
  return source;
}

Input input_of(const std::string& text, const std::string& file) {
  Input input;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line) && !line.empty() && input.deltas.size() < 4;) {
    Words words(line);
    const std::string what = words.text();
    if (what == "source" || what == "transposed") {
      const std::string name = words.text();
      WeightSource source = source_of(name, words, file, input);
      source.transposed = what == "transposed" && source.shape.size() == 2;
      input.sources.push_back(std::move(source));
    } else if (what == "delta") {
      WeightDelta delta;
      delta.weight = words.text();
      delta.scale = words.number();
      const std::string combine = words.text();
      delta.combine = combine == "hadamard"    ? Combine::hadamard
                      : combine == "kronecker" ? Combine::kronecker
                                               : Combine::none;
      delta.factors.resize(delta.combine == Combine::none ? 1 : 2);
      input.deltas.push_back(std::move(delta));
    } else if (!input.deltas.empty()) {
      auto& factors = input.deltas.back().factors;
      // A name with a 2 behind it is the second factor's.
      const bool second = what.ends_with('2') && factors.size() > 1;
      DeltaFactor& factor = factors[second ? 1 : 0];
      const std::string name = second ? what.substr(0, what.size() - 1) : what;
      if (name == "up") factor.up = source_of(what, words, file, input);
      if (name == "down") factor.down = source_of(what, words, file, input);
      if (name == "mid") factor.mid = source_of(what, words, file, input);
      if (name == "whole") factor.whole = source_of(what, words, file, input);
    }
  }
  // The addon's face lets none through that has neither.
  for (const WeightDelta& delta : input.deltas)
    for (const DeltaFactor& factor : delta.factors)
      input.is_small = input.is_small && (factor.whole || (factor.up && factor.down));
  return input;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static SpinningThreadPool pool(1);
  static const auto account = std::make_shared<Account>();
  static const int file = memfd_create("fuzz", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);

  const std::string text(reinterpret_cast<const char*>(data), size);
  const size_t end = text.find("\n\n");
  const std::string content = end == std::string::npos ? "" : text.substr(end + 2);
  if (ftruncate(file, 0) != 0 ||
      pwrite(file, content.data(), content.size(), 0) != static_cast<ssize_t>(content.size()))
    return 0;
  Input input = input_of(text, path);
  if (!input.is_small) return 0;
  try {
    std::vector<WeightRef> refs;
    for (const WeightSource& source : input.sources) refs.push_back({{source.name}, source.shape});
    std::erase_if(refs, [](const WeightRef& ref) { return !is_checked(ref.shape); });
    if (refs.size() > 1 && !refs[0].shape.empty() && !refs[1].shape.empty()) {
      WeightRef joined{{refs[0].names[0], refs[1].names[0]}, refs[0].shape};
      joined.shape[0] += refs[1].shape[0];
      refs.push_back(joined);
    }
    Checkpoint checkpoint(std::move(input.sources), nullptr, {}, std::move(input.deltas), account, pool);
    for (const WeightRef& ref : refs) try {
        checkpoint.WeightStore::raw(ref);
        const auto n = static_cast<size_t>(elements(ref.shape));
        const auto copy = [n](Element type, const void* from, void* to) {
          std::memcpy(to, from, n * element_bytes(type));
        };
        checkpoint.get_narrow(ref, "narrow", n, copy, std::nullopt);
        checkpoint.drop_staging();
      } catch (const std::exception&) {
      }
  } catch (const std::exception&) {
  }
  return 0;
}
