// 16 lanes; 14 rows × 2 vectors of accumulators, 2 of the right operand and 1 broadcast fill 31 of 32 registers.
#define LE_ISA Avx512
#define LE_ISA_NAME "avx512"
#define LE_LANES 16
#define LE_ROWS 14
#define LE_DEPTH 256
#include "isa_kernels.inc.h"
