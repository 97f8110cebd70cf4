import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Graph, Weights } from '../../sidecar/graph/builder.ts';
import { plan } from '../../sidecar/graph/planner.ts';
import { asTokens, conv2d, packedLinear } from '../../sidecar/models/layers.ts';
import {
  type NativeDevice,
  type NativeWeights,
  native,
  type WeightDelta,
  type WeightSource,
} from '../../sidecar/native.ts';
import { relativeL2 } from '../support/compare.ts';
import { type DeltaInMemory, merge, wave } from '../support/deltas.ts';
import { floatToHalf } from '../support/safetensors.ts';

// Adapters on top of weights, against the same plan over weights that plain loops have merged them into.

/** x [1,5,5,8] → a 3×3 convolution to 12 channels → q and k of 16 features each, packed. */
const traced = (() => {
  const g = new Graph('layers');
  const w = new Weights(g);
  const h = conv2d(g, w.at('conv'), g.input('x', [1, 5, 5, 8]), 12);
  g.output('y', packedLinear(g, w, ['to_q', 'to_k'], asTokens(g, h), 16, { bias: false }));
  return plan(g);
})();
const x = wave('x', [1, 5, 5, 8]).data;

const weights = [
  wave('conv.weight', [12, 8, 3, 3]),
  wave('conv.bias', [12]),
  wave('to_q.weight', [16, 12]),
  wave('to_k.weight', [16, 12]),
];
const low = (weight: string, up: number[], down: number[], scale = 0.5): DeltaInMemory => ({
  weight,
  scale,
  factors: [{ up: wave(`${weight}.up`, up), down: wave(`${weight}.down`, down) }],
});
const toQ = low('to_q.weight', [16, 2], [2, 12]);

let device: NativeDevice;
beforeEach(async () => {
  device = await native().open({ device: 'cpu', threads: 2, poison: true });
});
afterEach(() => device.dispose());

async function run(loaded: NativeWeights): Promise<Float32Array> {
  const program = await device.compile(traced, loaded);
  const { y } = await program.run({ x });
  await program.dispose();
  return y as Float32Array;
}

const expectClose = (actual: Float32Array, expected: Float32Array) =>
  expect(relativeL2(actual, expected)).toBeLessThan(1e-6);

async function expectMerged(deltas: DeltaInMemory[]) {
  const base = await device.loadWeights(weights);
  const plain = await run(base);
  const expected = await run(await device.loadWeights(weights.map((weight) => merge(weight, deltas))));
  expect(relativeL2(expected, plain)).toBeGreaterThan(0.01);
  expectClose(await run(await device.loadWeights([], { base, deltas })), expected);
  // In one, without a base, too.
  expectClose(await run(await device.loadWeights(weights, { deltas })), expected);
  expect(await run(base)).toEqual(plain);
}

const factor = (name: string, n: number, k: number[], r = 2) => ({
  up: wave(`${name}.up`, [n, r]),
  down: wave(`${name}.down`, [r, ...k]),
});
const two = (
  combine: DeltaInMemory['combine'],
  weight: string,
  ...factors: DeltaInMemory['factors']
): DeltaInMemory => ({ weight, scale: 0.7, combine, factors });

describe('products', () => {
  test.each<[string, DeltaInMemory[]]>([
    ['rank 1', [low('to_q.weight', [16, 1], [1, 12])]],
    [
      'rank 3, of both of two packed layers',
      [low('to_q.weight', [16, 3], [3, 12]), low('to_k.weight', [16, 3], [3, 12])],
    ],
    ['rank 300, deeper than a block', [low('to_k.weight', [16, 300], [300, 12], 0.01)]],
    ['a linear layer written as a convolution', [low('to_k.weight', [16, 2, 1, 1], [2, 12, 1, 1])]],
    ['a negative scale', [low('to_k.weight', [16, 2], [2, 12], -0.3)]],
    ['several of one weight', [toQ, low('to_q.weight', [16, 4], [4, 12], -0.2), toQ]],
    ['a convolution', [low('conv.weight', [12, 4, 1, 1], [4, 8, 3, 3])]],
    [
      'a matrix as it is, and a vector',
      [
        { weight: 'to_k.weight', scale: 0.3, factors: [{ whole: wave('diff', [16, 12]) }] },
        { weight: 'conv.bias', scale: 0.3, factors: [{ whole: wave('diff_b', [12]) }] },
      ],
    ],
    [
      'a convolution through a middle',
      [
        {
          weight: 'conv.weight',
          scale: 0.4,
          factors: [
            {
              up: wave('up', [12, 4, 1, 1]),
              mid: wave('mid', [4, 3, 3, 3]),
              down: wave('down', [3, 8, 1, 1]),
            },
          ],
        },
      ],
    ],
    ['hadamard', [two('hadamard', 'to_q.weight', factor('a', 16, [12]), factor('b', 16, [12], 5))]],
    [
      'hadamard, a convolution',
      [two('hadamard', 'conv.weight', factor('a', 12, [8, 3, 3]), factor('b', 12, [8, 3, 3], 5))],
    ],
    [
      'hadamard, a convolution through middles',
      [
        two(
          'hadamard',
          'conv.weight',
          ...['a', 'b'].map((name) => ({
            up: { ...wave(`${name}.up`, [12, 4]), transposed: true },
            mid: wave(`${name}.mid`, [4, 4, 3, 3]),
            down: wave(`${name}.down`, [4, 8]),
          })),
        ),
      ],
    ],
    [
      'kronecker',
      [two('kronecker', 'to_q.weight', { whole: wave('a', [4, 2]) }, { whole: wave('b', [4, 6]) })],
    ],
    [
      'kronecker, of products',
      [two('kronecker', 'to_q.weight', factor('a', 2, [3]), factor('b', 8, [4], 3))],
    ],
    [
      'kronecker, a convolution',
      [two('kronecker', 'conv.weight', { whole: wave('a', [2, 4]) }, factor('b', 6, [2, 3, 3], 3))],
    ],
  ])('%s', (_, deltas) => expectMerged(deltas));

  test('hadamard factors need one shape, also where they have as many elements', async () => {
    const delta = two('hadamard', 'to_q.weight', factor('a', 16, [12]), factor('b', 12, [16]));
    await expect(device.loadWeights(weights, { deltas: [delta] })).rejects.toThrow(
      'adapter tensor "b.up": expected a product of shape [16, 12], received [12, 16]',
    );
  });
});

describe('what is shared', () => {
  const bytes = (n: number) => 4 * n;
  const packed = async (loaded: NativeWeights) => {
    const before = device.memory().weights;
    await run(loaded);
    return device.memory().weights - before;
  };

  test('a weight that no adapter touches is packed once, one that is touched once more', async () => {
    const base = await device.loadWeights(weights);
    const all = await packed(base);
    expect(all).toBeGreaterThanOrEqual(bytes(12 * 8 * 9 + 12 + 2 * 16 * 12));
    const adapted = await device.loadWeights([], { base, deltas: [toQ] });
    const linear = await packed(adapted);
    expect(linear).toBeGreaterThanOrEqual(bytes(2 * 16 * 12));
    expect(linear).toBeLessThan(all / 2);
    // Packed through the adapter first, and then for the base.
    const other = await device.loadWeights(weights);
    await run(await device.loadWeights([], { base: other, deltas: [toQ] }));
    expect(await packed(other)).toBe(linear);
  });

  test('at scale 0 all of it, and the outputs are the same bits', async () => {
    const base = await device.loadWeights(weights);
    const plain = await run(base);
    const before = device.memory().weights;
    const adapted = await device.loadWeights([], { base, deltas: [{ ...toQ, scale: 0 }] });
    expect(await run(adapted)).toEqual(plain);
    expect(device.memory().weights).toBe(before);
  });

  test('the base lives as long as what is on top of it', async () => {
    const expected = await run(await device.loadWeights(weights.map((weight) => merge(weight, [toQ]))));
    const fresh = await native().open({ device: 'cpu', threads: 1 });
    const base = await fresh.loadWeights(weights);
    const adapted = await fresh.loadWeights([], { base, deltas: [toQ] });
    await base.dispose();
    expect(fresh.memory().weights).toBeGreaterThan(0);
    await expect(fresh.compile(traced, base)).rejects.toThrow('The weights have been disposed');
    await expect(fresh.loadWeights([], { base })).rejects.toThrow('The weights have been disposed');
    const program = await fresh.compile(traced, adapted);
    await adapted.dispose();
    expectClose((await program.run({ x })).y as Float32Array, expected);
    await program.dispose();
    expect(fresh.memory().weights).toBe(0);
    await fresh.dispose();
  });

  test('devices go with base and adapters in use', async () => {
    const fresh = await native().open({ device: 'cpu', threads: 1 });
    const base = await fresh.loadWeights(weights);
    const adapted = await fresh.loadWeights([], { base, deltas: [toQ] });
    await fresh.compile(traced, adapted);
    await fresh.dispose();
    expect(fresh.memory().weights).toBe(0);
  });

  test('adapters on adapters, and weights in place of the base’s', async () => {
    const base = await device.loadWeights(weights);
    const second = low('to_q.weight', [16, 3], [3, 12]);
    const once = await device.loadWeights([], { base, deltas: [toQ] });
    const twice = await device.loadWeights([], { base: once, deltas: [second] });
    await base.dispose();
    const merged = weights.map((weight) => merge(weight, [toQ, second]));
    expectClose(await run(twice), await run(await device.loadWeights(merged)));

    const bias: WeightSource = { ...wave('another', [12]), name: 'conv.bias' };
    const replaced = await device.loadWeights([bias], { base: once });
    const expected = weights.map((weight) => (weight.name === 'conv.bias' ? bias : merge(weight, [toQ])));
    expectClose(await run(replaced), await run(await device.loadWeights(expected as WeightSource[])));
  });
});

describe('files', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'latent-edge-deltas-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  async function written(halves: Uint16Array): Promise<string> {
    const file = join(folder, 'adapter');
    await writeFile(file, Buffer.concat([Buffer.alloc(13, 0xff), new Uint8Array(halves.buffer)]));
    return file;
  }
  const delta = (file: string, source: Partial<WeightSource> = {}): WeightDelta => ({
    weight: 'to_q.weight',
    scale: 1,
    factors: [
      {
        up: { name: 'a.up', dtype: 'F16', shape: [16, 2], file, offset: 13 },
        down: { name: 'a.down', dtype: 'BF16', shape: [2, 12], file, offset: 77, ...source } as WeightSource,
      },
    ],
  });

  test('halves of both kinds', async () => {
    const up = Float32Array.from({ length: 32 }, (_, i) => (i - 9) / 8);
    const down = Float32Array.from({ length: 24 }, (_, i) => (i % 5) / 4);
    const bits = new Uint32Array(down.buffer);
    const file = await written(
      Uint16Array.from([...Array.from(up, floatToHalf), ...bits.map((b) => b >>> 16)]),
    );
    const base = await device.loadWeights(weights);
    const inMemory: DeltaInMemory = {
      weight: 'to_q.weight',
      scale: 1,
      factors: [
        {
          up: { name: 'up', dtype: 'F32', shape: [16, 2], data: up },
          down: { name: 'down', dtype: 'F32', shape: [2, 12], data: down },
        },
      ],
    };
    const expected = await run(await device.loadWeights(weights.map((weight) => merge(weight, [inMemory]))));
    expectClose(await run(await device.loadWeights([], { base, deltas: [delta(file)] })), expected);
  });

  test('missing, too short, cut short afterwards, not finite', async () => {
    const file = await written(new Uint16Array(56).fill(0x3c00));
    const base = await device.loadWeights(weights);
    const load = (source: Partial<WeightSource>) =>
      device.loadWeights([], { base, deltas: [delta(file, source)] });
    await expect(load({ file: join(folder, 'none') })).rejects.toThrow(/Cannot map weight file .*none/);
    await expect(load({ offset: 78 })).rejects.toThrow(/weight "a.down": 48 bytes at offset 78 end outside/);
    await expect(load({ shape: [2 ** 40, 2 ** 40] })).rejects.toThrow('weight "a.down": impossible shape');
    const sound = await load({});
    await truncate(file, 100);
    await expect(run(sound)).rejects.toThrow(/adapter has become shorter/);
    await written(new Uint16Array(56).fill(0x7fc0));
    await expect(run(await load({}))).rejects.toThrow(
      /linear at \{to_q,to_k\} \(op \d\): weight "a.up" is NaN or infinite at element 0/,
    );
  });
});

describe('what does not fit', () => {
  const ofQ = (...factors: unknown[]) => ({ ...toQ, factors });
  const kronecker = (...shapes: number[][]) =>
    two('kronecker', 'to_q.weight', ...shapes.map((shape, i) => ({ whole: wave('ab'[i]!, shape) })));
  const through = (mid: number[], down: number[]) =>
    ofQ({ up: wave('u', [16, 2]), mid: wave('m', mid), down: wave('d', down) });
  const notOne = 'options.deltas[0].factors';

  test.each<[message: string, delta: unknown]>([
    [
      'adapter of weight "to_v.weight": the checkpoint has none of that name',
      low('to_v.weight', [16, 2], [2, 12]),
    ],
    [
      'adapter of weight "to_q.weight": expected shape [16, 12], received [16, 13]',
      low('to_q.weight', [16, 2], [2, 13]),
    ],
    ['expected shape [16, 12], received [12, 16]', low('to_q.weight', [12, 2], [2, 16])],
    ['expected shape [12, 8, 3, 3], received [12, 72]', low('conv.weight', [12, 2], [2, 72])],
    [
      '"to_q.weight.down": expected 2 rows, the rank of "to_q.weight.up", received [3, 12]',
      low('to_q.weight', [16, 2], [3, 12]),
    ],
    [
      '"to_q.weight.up": expected a rank from 1 to 16384, received [16, 0]',
      low('to_q.weight', [16, 0], [0, 12]),
    ],
    ['"to_q.weight.up": expected a matrix, received [16]', low('to_q.weight', [16], [1, 12])],
    ['"to_q.weight.up": expected a matrix, received [16, 2, 3]', low('to_q.weight', [16, 2, 3], [2, 12])],
    ['"to_q.weight.down": expected 2 rows, the rank of', low('to_q.weight', [16, 2], [2])],
    ['expected shape [16, 12], received [0, 12]', low('to_q.weight', [0, 2], [2, 12])],
    ['expected shape [16, 12], received []', ofQ({ whole: wave('scalar', []) })],
    ['adapter tensor "b": expected a matrix beside it, received []', kronecker([], [16, 12])],
    ['expected a matrix beside it, received [2, 2, 2]', kronecker([2, 2, 2], [8, 6])],
    ['expected shape [16, 12], received [16, 16]', kronecker([4, 4], [4, 4])],
    ['adapter tensor "m": expected four dimensions, and 2 rows', through([2, 3], [3, 12])],
    ['adapter tensor "d": expected 3 rows, as "m" has columns', through([2, 3, 1, 1], [2, 12])],
    ['Expected a finite number for options.deltas[0].scale but received NaN', { ...toQ, scale: Number.NaN }],
    [`Expected one factor for ${notOne} but received an Array`, ofQ()],
    [`Expected two factors for ${notOne}`, { ...toQ, combine: 'hadamard' }],
    ['Expected hadamard or kronecker for options.deltas[0].combine', { ...toQ, combine: 'sum' }],
    [`Expected an object for ${notOne}[0].down but received undefined`, ofQ({ up: wave('u', [16, 2]) })],
    ['Expected an object for options.deltas[0] but received 7', 7],
  ])('%#: %s', async (message, delta) => {
    const base = await device.loadWeights(weights);
    await expect(device.loadWeights([], { base, deltas: [delta as never] })).rejects.toThrow(message);
  });

  test('a sum beyond float32', async () => {
    const deltas = [{ ...toQ, scale: 1e39 }];
    await expect(run(await device.loadWeights(weights, { deltas }))).rejects.toThrow(
      'adapter of weight "to_q.weight" makes it infinite',
    );
  });

  test('a base of another device, or no base at all', async () => {
    const other = await native().open({ device: 'cpu', threads: 1 });
    const base = await other.loadWeights(weights);
    await expect(device.loadWeights([], { base })).rejects.toThrow('The weights belong to another device');
    await expect(device.loadWeights([], { base: {} as never })).rejects.toThrow(
      'Expected NativeWeights for options.base but received an Object',
    );
    await other.dispose();
  });
});
