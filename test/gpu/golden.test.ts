import { describe } from 'vitest';
import { native } from '../../sidecar/native.ts';
import { DEVICE, hasGpu } from '../support/gpu.ts';
import { GOLDEN, testGolden } from '../support/gpu-golden.ts';

// The reference's modules through the CUDA backend.

describe.skipIf(!hasGpu())(`golden on ${DEVICE}`, () => {
  testGolden((dtype) => native().open({ device: DEVICE, dtype, poison: true }), GOLDEN, [
    'f16',
    'bf16',
    'f32',
  ]);
});
