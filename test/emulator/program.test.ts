import { afterAll, beforeAll, expect, test } from 'vitest';
import { Graph, Weights } from '../../sidecar/graph/builder.ts';
import { plan } from '../../sidecar/graph/planner.ts';
import { type NativeDevice, type NativeTensor, native } from '../../sidecar/native.ts';
import { relativeL2 } from '../support/compare.ts';
import { wave } from '../support/deltas.ts';

// The executor of the CUDA backend, on the emulator: graphs, tensors kept, memory, errors.

let device: NativeDevice;
beforeAll(async () => {
  device = await native().open({ device: 'emulator', poison: true });
});
afterAll(() => device.dispose());

const shape = [2, 3, 5, 8];
const x = wave('x', shape).data;

/** silu of x, twice over. */
function twice() {
  const g = new Graph('twice');
  const once = g.op('activation', 'first', { x: g.input('x', shape) }, {}, { fn: 'silu' });
  g.output('once', once);
  g.output('y', g.op('activation', 'second', { x: once }, {}, { fn: 'silu' }));
  return plan(g);
}
const silu = (v: number) => v / (1 + Math.exp(-v));

test('the first run, the one that is captured and the one that is replayed give the same', async () => {
  const program = await device.compile(twice(), await device.loadWeights([]));
  const runs = [];
  for (let i = 0; i < 3; i++) runs.push((await program.run({ x })).y as Float32Array);
  const other = await program.run({ x: x.map((v) => 2 * v) });
  expect(runs[1]).toEqual(runs[0]);
  expect(runs[2]).toEqual(runs[0]);
  expect(relativeL2(runs[0]!, x.map(silu).map(silu))).toBeLessThan(1e-3);
  expect(
    relativeL2(
      other.y as Float32Array,
      x.map((v) => silu(silu(2 * v))),
    ),
  ).toBeLessThan(1e-3);
  await program.dispose();
});

test('run until an op returns its output', async () => {
  const program = await device.compile(twice(), await device.loadWeights([]));
  const { until } = await program.run({ x }, { until: 0 });
  expect(relativeL2(until as Float32Array, x.map(silu))).toBeLessThan(1e-3);
  await program.dispose();
});

test('tensors stay on the device in its type, and are inputs of other programs', async () => {
  const program = await device.compile(twice(), await device.loadWeights([]));
  const before = device.memory();
  const { once, y } = await program.run({ x }, { keep: ['once'] });
  expect((once as NativeTensor).bytes).toBe(2 * x.length);
  expect(device.memory().tensors).toBe(before.tensors + 2 * x.length);
  const again = await program.run({ x: once as NativeTensor }, {});
  expect(again.once).toEqual(y);
  (once as NativeTensor).dispose();
  expect(device.memory().tensors).toBe(before.tensors);
  await program.dispose();
});

test('every byte is given back', async () => {
  const own = await native().open({ device: 'emulator' });
  const weights = await own.loadWeights([
    { ...wave('norm.weight', [8]), dtype: 'F32' },
    { ...wave('norm.bias', [8]), dtype: 'F32' },
  ]);
  const g = new Graph('norm');
  const norm = new Weights(g, 'norm');
  g.output(
    'y',
    g.op(
      'group_norm',
      'norm',
      { x: g.input('x', shape) },
      { weight: norm.param('weight', [8]), bias: norm.param('bias', [8]) },
      { groups: 2, eps: 1e-5, silu: false },
    ),
  );
  const programs = [await own.compile(plan(g), weights), await own.compile(plan(g), weights)];
  const { weights: packed, arenas, scratch } = own.memory();
  expect(arenas).toBeGreaterThan(0);
  expect(scratch).toBeGreaterThan(0);
  // Shared: eight floats of weight and of bias, beside the sources in memory.
  expect(packed).toBe(2 * 8 * 4 + 2 * 8 * 4);
  for (const program of programs) await program.dispose();
  await weights.dispose();
  expect(own.memory()).toEqual({ weights: 0, arenas: 0, tensors: 0, scratch: 0 });
  await own.dispose();
});

test('an error names the op and its scope', async () => {
  const g = new Graph('ids');
  const table = new Weights(g);
  const weights = { weight: table.param('weight', [5, 4]), position: table.param('position', [3, 4]) };
  g.output('y', g.op('embedding', 'text.embed', { ids: g.input('ids', [1, 3], 'i32') }, weights));
  const loaded = await device.loadWeights([wave('weight', [5, 4]), wave('position', [3, 4])]);
  const program = await device.compile(plan(g), loaded);
  const run = (...ids: number[]) => program.run({ ids: Int32Array.from(ids) });
  for (let i = 0; i < 3; i++) {
    await expect(run(0, 5, 1)).rejects.toThrow(
      'embedding at text.embed (op 0): expected token ids in 0…4, received 5',
    );
    await expect(run(0, 4, 1)).resolves.toBeDefined();
  }
  await program.dispose();
});

test('an arena that cannot be had is an error with a code', async () => {
  const g = new Graph('huge');
  g.output('y', g.op('activation', 'huge', { x: g.input('x', [1 << 20, 1 << 11]) }, {}, { fn: 'silu' }));
  const weights = await device.loadWeights([]);
  await expect(device.compile(plan(g), weights)).rejects.toMatchObject({
    code: 'ERR_OUT_OF_MEMORY',
    message: expect.stringMatching(
      /^Not enough memory on the device: cannot allocate \d+ bytes for the arena/,
    ),
  });
});

test('a program may be of another type than the device, and takes the tensors of others', async () => {
  const weights = await device.loadWeights([]);
  const half = await device.compile(twice(), weights);
  const single = await device.compile(twice(), weights, { dtype: 'f32' });
  const { once } = await half.run({ x }, { keep: ['once'] });
  const { y } = await single.run({ x: once as NativeTensor });
  expect(relativeL2(y as Float32Array, x.map(silu).map(silu).map(silu))).toBeLessThan(1e-3);
  const exact = await single.run({ x });
  expect(relativeL2(exact.y as Float32Array, x.map(silu).map(silu))).toBeLessThan(1e-6);
  for (const program of [half, single]) await program.dispose();
});
