// What this machine is, as far as the CPU backend wants to know.
#pragma once

#include <cstdint>
#include <string>

namespace latent_edge {

// Physical cores this process may use: its affinity mask with SMT siblings counted once, and no more than its
// control group's CPU quota (rounded up). At least 1.
int usable_cores();

std::string cpu_name();

// Bytes of physical memory.
int64_t physical_memory();

}  // namespace latent_edge
