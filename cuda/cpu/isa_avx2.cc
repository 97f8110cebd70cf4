// 8 lanes; 6 rows × 2 vectors of accumulators, 2 of the right operand and 1 broadcast fill 15 of 16 registers.
#define LE_ISA Avx2
#define LE_ISA_NAME "avx2"
#define LE_LANES 8
#define LE_ROWS 6
#define LE_DEPTH 320
#include "isa_kernels.inc.h"
