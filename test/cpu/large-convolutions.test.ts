import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runOp, type Values } from '../../sidecar/doctor/bound.ts';
import { runnable } from '../../sidecar/doctor/cases.ts';
import { type NativeDevice, native } from '../../sidecar/native.ts';
import { relativeL2 } from '../support/compare.ts';

// Convolutions that the CPU takes by Winograd's F(4x4, 3x3), and some after an upsampling, that are several blocks in
// every direction, against the plain loops, and each image of a batch against itself alone. No cases of the op table,
// as the emulator would take too long.

/** F(4x4)'s rounding is about 1e-6, that after an upsampling 3e-7. */
const TOLERANCE = { plain: 2e-6, upsampled: 6e-7 };

let reference: NativeDevice;
let devices: NativeDevice[];
beforeAll(async () => {
  const open = (device: string, threads: number) => native().open({ device, threads, poison: true });
  reference = await open('cpu-reference', 2);
  devices = await Promise.all([1, 2].map((threads) => open('cpu', threads)));
});
afterAll(() => Promise.all([reference, ...devices].map((device) => device.dispose())));

const bytes = (y: Float32Array | Int32Array) => Buffer.from(y.buffer, y.byteOffset, y.byteLength);

/** What one image of a batch has of a tensor. */
function part<T extends Float32Array | Int32Array>(all: T, i: number, images: number): T {
  const size = all.length / images;
  return all.subarray(i * size, (i + 1) * size) as T;
}

function image({ weights, inputs }: Values, i: number, images: number): Values {
  const parts = Object.entries(inputs).map(([name, all]) => [name, part(all, i, images)]);
  return { weights, inputs: Object.fromEntries(parts) };
}

const padded = { stride: 1, padding: [1, 1, 1, 1] };

describe('conv2d', () => {
  test.each([
    { x: [1, 128, 128, 32], weight: [24, 32, 3, 3], also: ['bias', 'temb', 'residual'] },
    { x: [2, 131, 126, 20], weight: [17, 37, 3, 3], also: ['bias', 'x2'] },
    { x: [1, 128, 130, 100], weight: [3, 100, 3, 3], also: ['bias'] },
    { x: [2, 13, 9, 150], weight: [70, 150, 3, 3], also: ['bias', 'temb', 'residual'], upsample: [26, 18] },
    { x: [3, 11, 10, 33], weight: [290, 33, 3, 3], also: [], upsample: [22, 20] },
    { x: [2, 28, 23, 200], weight: [70, 200, 3, 3], also: ['bias', 'residual'], upsample: [56, 46] },
    { x: [2, 1, 3, 40], weight: [24, 40, 3, 3], also: ['bias'], upsample: [2, 6] },
    { x: [2, 9, 14, 5], weight: [6, 5, 3, 3], also: ['bias', 'residual'], upsample: [18, 28] },
    { x: [2, 96, 98, 32], weight: [8, 32, 3, 3], also: ['bias', 'temb'] },
    // Two threads' tasks share patches that are too many to be transformed at once: in two rounds, two blocks and one.
    { x: [2, 26, 26, 1030], weight: [70, 1030, 3, 3], also: ['bias', 'residual'] },
    { x: [1, 56, 56, 600], weight: [70, 600, 3, 3], also: ['bias', 'temb'] },
  ])('x $x weight $weight $also upsample $upsample', async ({ x, weight, also, upsample }) => {
    const attrs = { ...padded, ...(upsample && { upsample }) };
    const { plan, draw } = runnable('conv2d', { tensors: { x, weight }, attrs, also });
    const values = draw();
    const [expected] = await runOp(reference, plan, values);
    const [[alone], [shared]] = await Promise.all([
      runOp(devices[0]!, plan, values),
      runOp(devices[1]!, plan, values),
    ]);
    expect(relativeL2(alone!, expected!)).toBeLessThanOrEqual(
      upsample ? TOLERANCE.upsampled : TOLERANCE.plain,
    );
    // Bit for bit, whatever the number of threads, and whoever is in the batch.
    expect(bytes(shared!).equals(bytes(alone!))).toBe(true);
    const [images, ...size] = x as [number, ...number[]];
    const one = runnable('conv2d', { tensors: { x: [1, ...size], weight }, attrs, also }).plan;
    for (let i = 0; images > 1 && i < images; i++) {
      const [y] = await runOp(devices[1]!, one, image(values, i, images));
      expect(bytes(y!).equals(bytes(part(alone!, i, images)))).toBe(true);
    }
  });
});
