import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runOp } from '../../sidecar/doctor/bound.ts';
import { runnable } from '../../sidecar/doctor/cases.ts';
import { type NativeDevice, native } from '../../sidecar/native.ts';
import { relativeL2 } from '../support/compare.ts';

// Convolutions of images so large that the CPU takes them by Winograd's F(4x4, 3x3), and some after an upsampling that
// are several blocks in every direction, against the plain loops. No cases of the op table, as the emulator would take
// too long.

/** Rounding of F(4x4) is about three times that of F(2x2). */
const TOLERANCE = 2e-6;

let reference: NativeDevice;
let devices: NativeDevice[];
beforeAll(async () => {
  const open = (device: string, threads: number) => native().open({ device, threads, poison: true });
  reference = await open('cpu-reference', 2);
  devices = await Promise.all([1, 2].map((threads) => open('cpu', threads)));
});
afterAll(() => Promise.all([reference, ...devices].map((device) => device.dispose())));

const padded = { stride: 1, padding: [1, 1, 1, 1] };

describe('conv2d', () => {
  test.each([
    { x: [1, 128, 128, 32], weight: [24, 32, 3, 3], also: ['bias', 'temb', 'residual'] },
    { x: [2, 131, 126, 20], weight: [17, 37, 3, 3], also: ['bias', 'x2'] },
    { x: [1, 128, 130, 100], weight: [3, 100, 3, 3], also: ['bias'] },
    { x: [2, 13, 9, 150], weight: [70, 150, 3, 3], also: ['bias', 'temb', 'residual'], upsample: [26, 18] },
    { x: [1, 11, 10, 33], weight: [290, 33, 3, 3], also: [], upsample: [22, 20] },
  ])('x $x weight $weight $also upsample $upsample', async ({ x, weight, also, upsample }) => {
    const attrs = { ...padded, ...(upsample && { upsample }) };
    const { plan, draw } = runnable('conv2d', { tensors: { x, weight }, attrs, also });
    const values = draw();
    const [expected] = await runOp(reference, plan, values);
    const [alone, shared] = await Promise.all(devices.map((device) => runOp(device, plan, values)));
    expect(relativeL2(alone![0]!, expected!)).toBeLessThanOrEqual(TOLERANCE);
    // Whatever the number of threads.
    expect(shared).toEqual(alone);
  });
});
