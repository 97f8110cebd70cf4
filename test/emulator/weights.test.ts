import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { rounded } from '../../sidecar/doctor/half.ts';
import { Graph, joined } from '../../sidecar/graph/builder.ts';
import { plan } from '../../sidecar/graph/planner.ts';
import { type NativeDevice, native, type WeightSource } from '../../sidecar/native.ts';
import { relativeL2 } from '../support/compare.ts';
import { wave } from '../support/deltas.ts';
import { floatToHalf } from '../support/safetensors.ts';

// How weights come to a GPU: as their files have them, packed on the device.

const [rows, depth] = [24, 40];
const parts = ['q', 'k', 'v'].map((name) => {
  const { data } = wave(name, [rows / 3, depth]);
  return { name, shape: [rows / 3, depth], f16: rounded(data, 'f16'), bf16: rounded(data, 'bf16') };
});
const x = wave('x', [3, depth]).data;

let dir: string;
let device: NativeDevice;
let reference: NativeDevice;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'latent-edge-weights-'));
  device = await native().open({ device: 'emulator', dtype: 'f32' });
  reference = await native().open({ device: 'cpu-reference', threads: 1 });
});
afterAll(async () => {
  for (const one of [device, reference]) await one.dispose();
  rmSync(dir, { recursive: true });
});

/** x·[q; k; v]ᵀ */
function product() {
  const g = new Graph('product');
  const weight = joined(parts.map(({ name, shape }) => g.param(name, shape)));
  g.output('y', g.op('linear', 'qkv', { x: g.input('x', [3, depth]) }, { weight }, { activation: 'none' }));
  return plan(g);
}

/** A tensor in a file of its own, at an offset that is no multiple of its elements' size. */
function inFile(
  part: (typeof parts)[number],
  dtype: 'F16' | 'BF16' | 'F32',
  data: Float32Array,
): WeightSource {
  const file = join(dir, `${part.name}-${dtype}-${data.length}`);
  const size = dtype === 'F32' ? 4 : 2;
  const bytes = Buffer.alloc(3 + size * data.length);
  data.forEach((v, i) => {
    if (dtype === 'F32') bytes.writeFloatLE(v, 3 + 4 * i);
    else if (dtype === 'F16') bytes.writeUInt16LE(floatToHalf(v), 3 + 2 * i);
    else bytes.writeUInt16LE(new Uint32Array(Float32Array.of(v).buffer)[0]! >>> 16, 3 + 2 * i);
  });
  writeFileSync(file, bytes);
  return { name: part.name, dtype, shape: part.shape, file, offset: 3 };
}

async function run(on: NativeDevice, sources: WeightSource[]): Promise<Float32Array> {
  const weights = await on.loadWeights(sources);
  const program = await on.compile(product(), weights);
  const { y } = await program.run({ x });
  await program.dispose();
  await weights.dispose();
  return y as Float32Array;
}

test.each([
  ['float16', ['F16', 'F16', 'F16']],
  ['bfloat16', ['BF16', 'BF16', 'BF16']],
  ['float32', ['F32', 'F32', 'F32']],
  ['of several types', ['F16', 'BF16', 'F32']],
] as const)('a weight of three parts in files, %s', async (_, dtypes) => {
  const sources = parts.map((part, i) =>
    inFile(part, dtypes[i]!, dtypes[i] === 'BF16' ? part.bf16 : part.f16),
  );
  expect(relativeL2(await run(device, sources), await run(reference, sources))).toBeLessThan(1e-6);
});

test('a weight larger than a piece of the staging memory', async () => {
  const wide = (9 << 18) + 3; // 9 MB as float32
  const g = new Graph('wide');
  const weight = g.param('wide', [1, wide]);
  g.output(
    'y',
    g.op('embedding', 'row', { ids: g.input('ids', [1, 1], 'i32') }, { weight, position: weight }, {}),
  );
  const file = join(dir, 'wide');
  const values = Float32Array.from({ length: wide }, (_, i) => (i % 8191) - 4000);
  writeFileSync(file, new Uint8Array(values.buffer));
  const weights = await device.loadWeights([
    { name: 'wide', dtype: 'F32', shape: [1, wide], file, offset: 0 },
  ]);
  const program = await device.compile(plan(g), weights);
  const { y } = await program.run({ ids: Int32Array.of(0) });
  expect((y as Float32Array).findIndex((v, i) => v !== 2 * values[i]!)).toBe(-1);
  await program.dispose();
  await weights.dispose();
});

test('a part that lies transposed, and one that a delta is added to', async () => {
  const sources = parts.map((part) => inFile(part, 'F16', part.f16));
  const [n, k] = parts[1]!.shape as [number, number];
  const turned = Float32Array.from(
    { length: n * k },
    (_, i) => parts[1]!.f16[(i % n) * k + Math.floor(i / n)]!,
  );
  const transposed = { ...parts[1]!, name: 'turned' };
  const source = { ...inFile(transposed, 'F16', turned), name: 'k', transposed: true };
  const plain = await run(reference, sources);
  expect(relativeL2(await run(device, [sources[0]!, source, sources[2]!]), plain)).toBeLessThan(1e-6);

  const delta = { weight: 'k', scale: 0.5, factors: [{ whole: wave('delta', [n, k]) }] };
  const outputs = [];
  for (const on of [device, reference]) {
    const base = await on.loadWeights(sources);
    const adapted = await on.loadWeights([], { base, deltas: [delta] });
    const program = await on.compile(product(), adapted);
    outputs.push((await program.run({ x })).y as Float32Array);
    for (const one of [program, adapted, base]) await one.dispose();
  }
  expect(relativeL2(outputs[0]!, outputs[1]!)).toBeLessThan(1e-6);
  expect(relativeL2(outputs[1]!, plain)).toBeGreaterThan(0.01);
});

test.each(['F16', 'BF16', 'F32'] as const)(
  'an infinite %s element is named, and nothing is left',
  async (dtype) => {
    const bad = parts[1]!.f16.slice(0);
    bad[37] = Number.POSITIVE_INFINITY;
    const own = await native().open({ device: 'emulator' });
    const weights = await own.loadWeights([
      inFile(parts[0]!, dtype, parts[0]!.bf16),
      { ...inFile({ ...parts[1]!, name: 'bad' }, dtype, bad), name: 'k' },
      inFile(parts[2]!, dtype, parts[2]!.bf16),
    ]);
    await expect(own.compile(product(), weights)).rejects.toMatchObject({
      code: 'ERR_BAD_WEIGHTS',
      message: expect.stringContaining('weight "k" is NaN or infinite at element 37'),
    });
    await weights.dispose();
    expect(own.memory()).toEqual({ weights: 0, arenas: 0, tensors: 0, scratch: 0 });
    await own.dispose();
  },
);
