import { mkdtemp, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type NativeDevice, native, type WeightSource } from '../../sidecar/native.ts';
import { linearChain } from '../support/plans.ts';
import { halfToFloat } from '../support/safetensors.ts';

const width = 8;
let folder: string;
let device: NativeDevice;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'latent-edge-weights-'));
  device = await native().open({ device: 'cpu', threads: 2 });
});
afterAll(async () => {
  await device.dispose();
  await rm(folder, { recursive: true });
});

const zeroBias = (n: number): WeightSource => ({
  name: 'layer.0.bias',
  dtype: 'F32',
  shape: [n],
  data: new Float32Array(n),
});

/** The weight as the device reads it: each row of the identity, times Wᵀ. */
async function readBack(source: WeightSource, width = 8): Promise<Float32Array> {
  const program = await device.compile(
    linearChain(width, width),
    await device.loadWeights([source, zeroBias(width)]),
  );
  const x = new Float32Array(width * width);
  for (let i = 0; i < width; i++) x[i * width + i] = 1;
  const y = (await program.run({ x })).y as Float32Array;
  return Float32Array.from(
    { length: width * width },
    (_, i) => y[(i % width) * width + Math.floor(i / width)]!,
  );
}

/** A file with the values at an odd offset, as a safetensors header of odd length has them. */
async function fileOf(
  name: string,
  values: Float32Array | Uint16Array,
): Promise<{ file: string; offset: number }> {
  const file = join(folder, name);
  await writeFile(file, Buffer.concat([Buffer.alloc(13, 0xff), new Uint8Array(values.buffer)]));
  return { file, offset: 13 };
}

describe('element types', () => {
  test('float32', async () => {
    const values = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i));
    const at = await fileOf('f32', values);
    expect(await readBack({ name: 'layer.0.weight', dtype: 'F32', shape: [8, 8], ...at })).toEqual(values);
  });

  test('bfloat16 is the upper half of float32', async () => {
    const halves = Uint16Array.from({ length: 64 }, (_, i) => 0x3f80 + 31 * i + (i % 2 ? 0x8000 : 0));
    const expected = new Float32Array(Uint32Array.from(halves, (h) => h * 65536).buffer);
    const at = await fileOf('bf16', halves);
    expect(await readBack({ name: 'layer.0.weight', dtype: 'BF16', shape: [8, 8], ...at })).toEqual(expected);
  });

  test('float16, all of its finite values', async () => {
    const finite = Uint16Array.from({ length: 65536 }, (_, i) => i).filter((h) => (h & 0x7c00) !== 0x7c00);
    const expected = Float32Array.from(finite, (h) => {
      const exponent = (h >> 10) & 31;
      const mantissa = h & 1023;
      const size = exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25);
      return h & 0x8000 ? -size : size;
    });
    const n = finite.length;
    const at = await fileOf('f16', finite);
    // Positions of an embedding, beside a table of zeros, come back as they are.
    const plan = {
      version: 1 as const,
      name: 'table',
      arenaBytes: 64 + n * 4 + 64,
      inputs: [{ name: 'ids', dtype: 'i32' as const, shape: [1, 1], offset: 0 }],
      outputs: [{ name: 'y', dtype: 'f32' as const, shape: [1, 1, n], offset: 64 }],
      ops: [
        {
          op: 'embedding' as const,
          scope: 'table',
          inputs: { ids: { dtype: 'i32' as const, shape: [1, 1], offset: 0 } },
          weights: {
            weight: { names: ['zero'], shape: [1, n] },
            position: { names: ['f16'], shape: [1, n] },
          },
          attrs: {},
          output: { dtype: 'f32' as const, shape: [1, 1, n], offset: 64 },
        },
      ],
    };
    const weights = await device.loadWeights([
      { name: 'zero', dtype: 'F32', shape: [1, n], data: new Float32Array(n) },
      { name: 'f16', dtype: 'F16', shape: [1, n], ...at },
    ]);
    const { y } = await (await device.compile(plan, weights)).run({ ids: Int32Array.of(0) });
    expect(expected.map((v) => v + 0)).toEqual((y as Float32Array).map((v) => v + 0));
  });

  test('float16 in a matrix, all of its finite values: they are widened as they are used', async () => {
    const side = 256;
    const halves = Uint16Array.from({ length: side * side }, (_, i) => ((i & 0x7c00) === 0x7c00 ? 0 : i));
    const expected = Float32Array.from(halves, halfToFloat);
    const at = await fileOf('matrix', halves);
    const actual = await readBack({ name: 'layer.0.weight', dtype: 'F16', shape: [side, side], ...at }, side);
    // A sum of products is never −0.
    const wrong = actual.findIndex((v, i) => v !== expected[i]! + 0);
    expect([wrong, actual[wrong], expected[wrong]]).toEqual([-1, undefined, undefined]);
  });

  test.each([
    ['F16', 0x7c00],
    ['F16', 0xfe00],
    ['BF16', 0xff80],
    ['BF16', 0x7fc0],
  ] as const)('%s that is not finite (0x%i) is refused by name', async (dtype, bits) => {
    const halves = new Uint16Array(64);
    halves[50] = bits;
    const at = await fileOf('inf', halves);
    await expect(readBack({ name: 'layer.0.weight', dtype, shape: [8, 8], ...at })).rejects.toThrow(
      'linear at layer.0 (op 0): weight "layer.0.weight" is NaN or infinite at element 50',
    );
  });
});

test('a matrix that its file has transposed', async () => {
  const values = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i));
  const at = await fileOf('transposed', values);
  const source = { name: 'layer.0.weight', dtype: 'F32' as const, transposed: true, ...at };
  const expected = values.map((_, i) => values[(i % 8) * 8 + Math.floor(i / 8)]!);
  expect(await readBack({ ...source, shape: [8, 8] })).toEqual(expected);
  await expect(device.loadWeights([{ ...source, shape: [64] }])).rejects.toThrow(
    'Expected false, as it is no matrix, for sources[0].transposed but received true',
  );
});

describe('files', () => {
  test('a missing file, a folder, a tensor outside its file', async () => {
    const at = await fileOf('short', new Float32Array(64));
    const load = (source: Partial<WeightSource>) =>
      device.loadWeights([{ name: 'w', dtype: 'F32', shape: [8, 8], ...at, ...source } as WeightSource]);
    await expect(load({ file: join(folder, 'none') })).rejects.toThrow(
      /Cannot map weight file .*none: No such file/,
    );
    await expect(load({ file: folder })).rejects.toThrow('expected a regular file');
    await expect(load({ offset: 14 })).rejects.toThrow(
      `weight "w": 256 bytes at offset 14 end outside ${join(folder, 'short')} of 269 bytes`,
    );
    await expect(load({ offset: 2 ** 53 - 1 })).rejects.toThrow('end outside');
    await expect(load({ shape: [2 ** 32, 2 ** 32] })).rejects.toThrow(
      'weight "w": impossible shape [4294967296, 4294967296]',
    );
    await expect(load({ offset: -1 })).rejects.toThrow('sources[0].offset but received -1');
    await expect(load({ dtype: 'F64' as never })).rejects.toThrow(
      'Expected F32, F16 or BF16 for sources[0].dtype but received the string "F64"',
    );
  });

  test('a file cut short after it was mapped is an error, not a crash', async () => {
    const at = await fileOf('cut', new Float32Array(64).fill(1));
    const weights = await device.loadWeights([
      { name: 'layer.0.weight', dtype: 'F32', shape: [8, 8], ...at },
      zeroBias(width),
    ]);
    await truncate(at.file, 20);
    await expect(device.compile(linearChain(1, width), weights)).rejects.toThrow(/cut has become shorter/);
    await weights.dispose();
  });

  test('one written over after it was mapped is an error, too; one replaced by another is not', async () => {
    const at = await fileOf('over', new Float32Array(64).fill(1));
    const load = () =>
      device.loadWeights([{ name: 'layer.0.weight', dtype: 'F32', shape: [8, 8], ...at }, zeroBias(width)]);
    const before = await load();
    await utimes(at.file, 1, 1);
    await expect(device.compile(linearChain(1, width), before)).rejects.toMatchObject({
      ...{
        code: 'ERR_BAD_WEIGHTS',
        message: expect.stringMatching(/over has been written to since it was opened/),
      },
    });
    const after = await load();
    await writeFile(`${at.file}.new`, new Uint8Array(300));
    await rename(`${at.file}.new`, at.file);
    const program = await device.compile(linearChain(1, width), after);
    await program.dispose();
    for (const weights of [before, after]) await weights.dispose();
  });

  test('a name twice', async () => {
    await expect(device.loadWeights([zeroBias(width), zeroBias(width)])).rejects.toThrow(
      'weight "layer.0.bias" occurs twice',
    );
  });

  test('data of another length than its shape', async () => {
    await expect(device.loadWeights([{ ...zeroBias(width), shape: [9] }])).rejects.toThrow(
      'Expected as many elements as shape [9] has for sources[0].data but received 8',
    );
  });
});
