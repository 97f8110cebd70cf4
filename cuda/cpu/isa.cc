#include "isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "../addon/convert.h"

namespace latent_edge {

static const Isa& choose() {
  std::vector<const Isa*> here;  // best first
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512) here.push_back(&kIsaAvx512);
  if (avx2) here.push_back(&kIsaAvx2);
#endif
  here.push_back(&kIsaBaseline);
  const char* asked = std::getenv("LATENT_EDGE_ISA");
  if (asked == nullptr || *asked == '\0') return *here.front();
  std::string names;
  for (const Isa* isa : here) {
    if (isa->name == std::string(asked)) return *isa;
    names += (names.empty() ? "" : ", ") + std::string(isa->name);
  }
  throw std::runtime_error("Expected one of " + names +
                           ", as this machine has, for LATENT_EDGE_ISA but received \"" + asked + "\"");
}

const Isa& isa() {
  static const Isa& chosen = choose();
  return chosen;
}

}  // namespace latent_edge
