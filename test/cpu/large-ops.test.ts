import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runOp, type Values } from '../../sidecar/doctor/bound.ts';
import { runnable } from '../../sidecar/doctor/cases.ts';
import type { OpCase, OpName } from '../../sidecar/graph/ops.ts';
import { type NativeDevice, native, type WeightSource } from '../../sidecar/native.ts';
import { relativeL2 } from '../support/compare.ts';

// What the CPU does by fewer products, at sizes that are several blocks in every direction: convolutions by Winograd's
// F(4x4, 3x3) or after an upsampling, matrices by Strassen's algorithm. Against the plain loops, and each image of a batch
// against itself alone. No cases of the op table, as the emulator would take too long.

/** Rounding is about 1e-6 by F(4x4), 3e-7 after an upsampling, 6.5e-7 by Strassen's. */
const TOLERANCE = { winograd: 2e-6, upsampled: 6e-7, strassen: 1e-6 };

let folder: string;
let reference: NativeDevice;
let devices: NativeDevice[];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'latent-edge-large-'));
  const open = (device: string, threads: number) => native().open({ device, threads, poison: true });
  reference = await open('cpu-reference', 2);
  devices = await Promise.all([1, 2, 3].map((threads) => open('cpu', threads)));
});
afterAll(async () => {
  await Promise.all([reference, ...devices].map((device) => device.dispose()));
  await rm(folder, { recursive: true });
});

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

/** On one, two and three threads, and each image alone: within the tolerance, and the same bit for bit. */
async function holds(op: OpName, opCase: OpCase, tolerance: number) {
  const { plan, draw } = runnable(op, opCase);
  const values = draw();
  const [expected] = await runOp(reference, plan, values);
  const [alone, ...others] = (await Promise.all(devices.map((each) => runOp(each, plan, values)))).map(
    ([y]) => y!,
  );
  expect(relativeL2(alone!, expected!)).toBeLessThanOrEqual(tolerance);
  for (const other of others) expect(bytes(other).equals(bytes(alone!))).toBe(true);
  const [images, ...size] = opCase.tensors.x as [number, ...number[]];
  const tensors = { ...opCase.tensors, x: [1, ...size] };
  const one = runnable(op, { ...opCase, tensors }).plan;
  for (let i = 0; images > 1 && i < images; i++) {
    const [y] = await runOp(devices[1]!, one, image(values, i, images));
    expect(bytes(y!).equals(bytes(part(alone!, i, images)))).toBe(true);
  }
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
    await holds(
      'conv2d',
      { tensors: { x, weight }, attrs, also },
      upsample ? TOLERANCE.upsampled : TOLERANCE.winograd,
    );
  });
});

describe('linear', () => {
  test.each([
    { x: [1, 256, 640], weight: [640, 640], also: ['bias', 'residual'] },
    // Halves of the depth in three blocks, rows and columns in two; a block of the depth, and of rows, that is not full.
    { x: [2, 538, 1312], weight: [448, 1312], also: ['bias', 'residual'] },
    { x: [3, 262, 320], weight: [1984, 320], also: ['bias'], activation: 'geglu' },
    // Values and gates that are padded, each, to whole panels.
    { x: [1, 300, 672], weight: [1336, 672], also: ['residual'], activation: 'geglu' },
    { x: [2, 256, 4128], weight: [128, 4128], also: [] },
    // Not in two: an odd number of rows, a depth that is no multiple of 32, columns that are an odd number of panels (from 8
    // lanes on).
    { x: [2, 301, 640], weight: [640, 640], also: ['bias'] },
    { x: [2, 300, 648], weight: [640, 648], also: ['bias'] },
    { x: [2, 300, 640], weight: [650, 640], also: ['bias'] },
  ])('x $x weight $weight $also $activation', async ({ x, weight, also, activation }) => {
    const attrs = activation && { attrs: { activation } };
    await holds('linear', { tensors: { x, weight }, also, ...attrs }, TOLERANCE.strassen);
  });

  test.each(['F16', 'BF16'] as const)('weights in %s, widened as they are added up', async (dtype) => {
    const [n, k] = [640, 640];
    const { plan, draw } = runnable('linear', { tensors: { x: [1, 256, k], weight: [n, k] }, attrs: {} });
    const { inputs, weights } = draw();
    // Numbers that both types hold: a sign, exponents from 2^-6 to 2^1, three bits of what follows.
    const codes = Uint8Array.from({ length: n * k }, (_, i) => (i * 40503) >> 4);
    const narrow = Uint16Array.from(codes, (c) => {
      const [sign, exponent, bits] = [(c >> 7) << 15, (c >> 3) & 7, c & 7];
      return dtype === 'F16'
        ? sign | ((9 + exponent) << 10) | (bits << 7)
        : sign | ((121 + exponent) << 7) | (bits << 4);
    });
    const wide = Float32Array.from(
      codes,
      (c) => (c & 128 ? -1 : 1) * 2 ** (((c >> 3) & 7) - 6) * (1 + (c & 7) / 8),
    );
    const file = join(folder, dtype);
    await writeFile(file, new Uint8Array(narrow.buffer));
    const run = async (source: (part: WeightSource, at: number) => WeightSource) => {
      let at = 0;
      const sources = weights.map((part) => {
        if (part.shape.length === 1) return part;
        const one = source(part, at);
        at += part.shape[0]! * part.shape[1]!;
        return one;
      });
      return (await runOp(devices[1]!, plan, { inputs, weights: sources }))[0]!;
    };
    const actual = await run(({ name, shape }, at) => ({ name, shape, dtype, file, offset: 2 * at }));
    const expected = await run(({ name, shape }, at) => ({
      name,
      shape,
      dtype: 'F32',
      data: wide.slice(at, at + shape[0]! * shape[1]!),
    }));
    expect(bytes(actual).equals(bytes(expected))).toBe(true);
  });
});

// One token or pixel among zeros. Summed term by term, an output that it is no part of is exactly 0; where products are of
// sums, it cancels there, and leaves its rounding.
describe('which operands go by fewer products', () => {
  const traceOf = async (op: OpName, opCase: OpCase, at: number, of: (y: Float32Array) => Float32Array) => {
    const { plan, draw } = runnable(op, opCase);
    const { inputs, weights } = draw();
    const x = inputs.x as Float32Array;
    const depth = opCase.tensors.x!.at(-1)!;
    x.fill(0, 0, at * depth).fill(0, (at + 1) * depth);
    const trace = async (device: NativeDevice) =>
      of((await runOp(device, plan, { inputs, weights }))[0] as Float32Array).some((value) => value !== 0);
    expect(await trace(reference)).toBe(false);
    return trace(devices[1]!);
  };

  test.each([
    { x: [1, 256, 640], columns: 640, fewer: true },
    { x: [1, 254, 640], columns: 640, fewer: false },
    { x: [1, 256, 640], columns: 448, fewer: false },
    { x: [1, 257, 640], columns: 640, fewer: false },
    { x: [1, 256, 648], columns: 640, fewer: false },
  ])('linear, x $x, $columns columns: fewer products $fewer', async ({ x, columns, fewer }) => {
    const half = x[1]! >> 1;
    const paired = (y: Float32Array) => y.subarray(half * columns, (half + 1) * columns);
    const opCase = { tensors: { x, weight: [columns, x[2]!] }, attrs: {} };
    expect(await traceOf('linear', opCase, 0, paired)).toBe(fewer);
  });

  test.each([
    { x: [1, 8, 8, 32], upsampled: false, fewer: true },
    { x: [1, 8, 8, 31], upsampled: false, fewer: false },
    { x: [1, 7, 8, 32], upsampled: false, fewer: false },
    { x: [1, 7, 8, 31], upsampled: true, fewer: true },
  ])('conv2d, x $x, upsampled $upsampled: fewer products $fewer', async ({ x, upsampled, fewer }) => {
    const columns = 32;
    const first = (y: Float32Array) => y.subarray(0, columns);
    const attrs = { ...padded, ...(upsampled && { upsample: [2 * x[1]!, 2 * x[2]!] }) };
    const opCase = { tensors: { x, weight: [columns, x[3]!, 3, 3] }, attrs };
    const at = upsampled ? 1 : 2;
    expect(await traceOf('conv2d', opCase, at * x[2]! + at, first)).toBe(fewer);
  });
});
