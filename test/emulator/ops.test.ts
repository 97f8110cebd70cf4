import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type NativeDevice, native } from '../../sidecar/native.ts';
import { excess, naive, PENDING, runOp } from '../support/gpu-ops.ts';
import type { Storage } from '../support/half.ts';
import { opCases } from '../support/op-cases.ts';

// Every case of the op table: the CUDA kernels, run by the emulator, against the CPU's plain loops, on poisoned arenas.

const STORAGES: Storage[] = ['f16', 'bf16', 'f32'];

let reference: NativeDevice;
const devices = {} as Record<Storage, NativeDevice>;
beforeAll(async () => {
  reference = await native().open({ device: 'cpu-reference', threads: 1 });
  for (const dtype of STORAGES)
    devices[dtype] = await native().open({ device: 'emulator', dtype, poison: true });
});
afterAll(async () => {
  for (const device of [reference, ...Object.values(devices)]) await device.dispose();
});

const implemented = opCases().filter(({ op }) => !PENDING.includes(op));

describe.each(implemented)('$op', ({ cases }) => {
  test.each(cases)('$title', async ({ plan, draw }) => {
    const values = draw();
    const [exact] = await runOp(reference, plan, values);
    for (const storage of STORAGES) {
      const [actual] = await runOp(devices[storage], plan, values);
      const naive16 = await naive(reference, plan, values, storage);
      expect(excess(actual!, exact!, naive16, storage), storage).toBeLessThanOrEqual(1);
    }
  });
});
