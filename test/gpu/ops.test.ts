import { describe } from 'vitest';
import { runnable } from '../../sidecar/doctor/cases.ts';
import { native } from '../../sidecar/native.ts';
import { DEVICE, hasGpu } from '../support/gpu.ts';
import { testOps } from '../support/gpu-ops.ts';
import { trueShapes } from '../support/true-shapes.ts';

// The op table's cases, and shapes of the real models.

describe.skipIf(!hasGpu())(`ops on ${DEVICE}`, () => {
  const open = (dtype: 'f16' | 'bf16' | 'f32') => native().open({ device: DEVICE, dtype, poison: true });
  describe('cases of the op table', () => testOps(open));
  describe('shapes of the real models', () =>
    testOps(
      open,
      Object.entries(trueShapes).map(([op, cases]) => ({ op, cases: cases.map((one) => runnable(op, one)) })),
    ));
});
