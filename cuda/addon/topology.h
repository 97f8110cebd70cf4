// What this machine is, as far as the CPU backend wants to know.
#pragma once

#include <cstdint>
#include <string>

namespace latent_edge {

// Physical cores this process may use: its affinity mask with SMT siblings counted once, and no more than its
// control group's CPU quota (rounded up). At least 1.
int usable_cores();

std::string cpu_name();

// Bytes of memory this process may use: the machine's, and no more than its control group or one above that grants.
int64_t usable_memory();

// The least memory.max (version 2) or memory.limit_in_bytes (version 1) of the control groups that `membership`, the
// text of /proc/self/cgroup, names and of those above them, in `root`, /sys/fs/cgroup; 0: there is no limit.
int64_t memory_limit(const std::string& membership, const std::string& root);

}  // namespace latent_edge
