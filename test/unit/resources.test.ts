import { expect, test } from 'vitest';
import { parseResources } from '../../cuda/resources.mjs';

const kernel =
  '_ZN11latent_edge3gpu39_GLOBAL__N__221fa9de_7_gemm_cu_bc8fd4df7productI6__halfLi128ELi160EEEvPfi';

// Compiled for several architectures.
const several =
  '_ZN11latent_edge3gpu45_GLOBAL__N__28dad11c_7_gemm_cu_a6cdc0e8_2642513product_plainENS0_7ProductIfEEPf';

test('registers, spills and warnings of nvcc', () => {
  const text = `ptxas info    : Compiling entry function '${kernel}' for 'sm_80'
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers
ptxas info    : Compiling entry function '${several}' for 'sm_90a'
ptxas info    : Used 48 registers, used 1 barriers
gemm.cu(3): warning #177-D: variable "x" was declared but never referenced`;
  const { uses, warnings } = parseResources(text);
  expect(uses).toEqual([
    { kernel: 'product<f16 128×160>', arch: 'sm_80', registers: 255, spilled: 12 },
    { kernel: 'product_plain<f32>', arch: 'sm_90a', registers: 48, spilled: 0 },
  ]);
  expect(warnings).toHaveLength(1);
});
