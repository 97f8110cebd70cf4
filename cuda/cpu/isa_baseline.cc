// What every processor of the architecture has: NEON on AArch64 (32 registers), SSE2 on x86-64 (16), else plain code.
#define LE_ISA Baseline
#define LE_LANES 4
#define LE_DEPTH 320
#if defined(__aarch64__)
#define LE_ISA_NAME "neon"
#define LE_ROWS 12
#else
#define LE_ISA_NAME "baseline"
#define LE_ROWS 6
#endif
#include "isa_kernels.inc.h"
