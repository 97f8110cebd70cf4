#include "isa.h"

#include <cstdlib>
#include <cstring>

namespace latent_edge {

static const Isa& choose() {
#if defined(__x86_64__)
  const char* asked = std::getenv("LATENT_EDGE_ISA");
  const auto allowed = [&](const char* name) { return asked == nullptr || std::strcmp(asked, name) == 0; };
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && allowed("avx512")) return kIsaAvx512;
  if (avx2 && allowed("avx2")) return kIsaAvx2;
#endif
  return kIsaBaseline;
}

const Isa& isa() {
  static const Isa& chosen = choose();
  return chosen;
}

}  // namespace latent_edge
