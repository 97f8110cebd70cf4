import { describe } from 'vitest';
import { runnable } from '../../sidecar/doctor/cases.ts';
import { native, type Precision } from '../../sidecar/native.ts';
import { DEVICE, hasGpu } from '../support/gpu.ts';
import { testOps } from '../support/gpu-ops.ts';
import { trueShapes } from '../support/true-shapes.ts';
import { warpgroupCases } from '../support/warpgroup-cases.ts';

// The op table's cases; those for warpgroups, which a card of many multiprocessors cuts in fewer ways than the emulator's;
// shapes of the real models.

describe.skipIf(!hasGpu())(`ops on ${DEVICE}`, () => {
  const open = (dtype: Precision) => native().open({ device: DEVICE, dtype, poison: true });
  describe('cases of the op table', () => testOps(open));
  describe('cases for warpgroups', () => testOps(open, [{ op: 'warpgroups', cases: warpgroupCases }]));
  describe('shapes of the real models', () =>
    testOps(
      open,
      (Object.keys(trueShapes) as (keyof typeof trueShapes)[]).map((op) => ({
        op,
        cases: trueShapes[op].map((one) => runnable(op, one)),
      })),
      { device: 'cpu' },
    ));
});
