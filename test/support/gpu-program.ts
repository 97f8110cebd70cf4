import { afterAll, beforeAll, expect, test } from 'vitest';
import { Graph, Weights } from '../../sidecar/graph/builder.ts';
import { plan } from '../../sidecar/graph/planner.ts';
import { type NativeDevice, type NativeTensor, native } from '../../sidecar/native.ts';
import { relativeL2 } from './compare.ts';
import { wave } from './deltas.ts';

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

/**
 * The executor of the CUDA backend: graphs, tensors that are kept, memory, errors.
 * @param second another device of the kind, if there is one.
 */
export function testProgram(id: string, second?: string) {
  let device: NativeDevice;
  beforeAll(async () => {
    device = await native().open({ device: id, poison: true, memoryBytes: 2 ** 30 });
  });
  afterAll(() => device.dispose());

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

  test('rows of arrays and tensors, of whatever type and at whatever place, make an input', async () => {
    const weights = await device.loadWeights([]);
    /** silu of x [rows,n]; with rows of an odd number of elements, parts do not begin where vectors do. */
    const rows = (n: number, count: number) => {
      const g = new Graph('rows');
      g.output('y', g.op('activation', 'silu', { x: g.input('x', [count, n]) }, {}, { fn: 'silu' }));
      return plan(g);
    };
    for (const n of [1, 3, 64, 1001]) {
      const values = Array.from({ length: 3 }, (_, i) => wave(`row ${i}`, [1, n]).data);
      const single = await device.compile(rows(n, 1), weights);
      const exact = await device.compile(rows(n, 1), weights, { dtype: 'f32' });
      const four = await device.compile(rows(n, 4), weights);
      const [a, b] = [
        (await single.run({ x: values[0]! }, { keep: ['y'] })).y as NativeTensor,
        (await exact.run({ x: values[1]! }, { keep: ['y'] })).y as NativeTensor,
      ];
      const y = (await four.run({ x: [values[2]!, a, b, a] })).y as Float32Array;
      const alone = async (x: Float32Array | NativeTensor) => [
        ...((await single.run({ x })).y as Float32Array),
      ];
      expect([...y]).toEqual(
        [await alone(values[2]!), await alone(a), await alone(b), await alone(a)].flat(),
      );
      // Tensors that are in place already stay there; in another order they are brought anew.
      for (const list of [
        [a, b, a, b],
        [a, b, a, b],
        [b, a, a, b],
      ]) {
        const again = (await four.run({ x: list })).y as Float32Array;
        expect([...again]).toEqual((await Promise.all(list.map(alone))).flat());
      }
      for (const program of [single, exact, four]) await program.dispose();
    }
  });

  test('every byte is given back', async () => {
    const own = await native().open({ device: id });
    const weights = await own.loadWeights([
      { ...wave('norm.weight', [8]), dtype: 'F32' },
      { ...wave('norm.bias', [8]), dtype: 'F32' },
    ]);
    const g = new Graph('norm');
    const norm = new Weights(g, 'norm');
    // Groups large enough for sums of their own, in scratch.
    g.output(
      'y',
      g.op(
        'group_norm',
        'norm',
        { x: g.input('x', [1, 80, 80, 8]) },
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

  test('tensors that are given again are not copied again, and others in their place are', async () => {
    const weights = await device.loadWeights([]);
    const program = await device.compile(twice(), weights);
    const kept = async (scale: number) => {
      const { once } = await program.run({ x: x.map((v) => scale * v) }, { keep: ['once'] });
      return once as NativeTensor;
    };
    const [a, b] = [await kept(1), await kept(2)];
    const y = async (input: NativeTensor | Float32Array) =>
      (await program.run({ x: input })).y as Float32Array;
    const [first, second] = [await y(a), await y(b)];
    expect(first).not.toEqual(second);
    for (const [input, expected] of [
      [b, second],
      [b, second],
      [a, first],
      [a, first],
    ] as const)
      expect(await y(input)).toEqual(expected);
    const fromHost = await y(x);
    expect(await y(a)).toEqual(first);
    expect(await y(x)).toEqual(fromHost);
    // One that is gone does not stand for another.
    a.dispose();
    const c = await kept(3);
    expect(await y(c)).not.toEqual(first);
    await program.dispose();
  });

  test.skipIf(!second)('one that is lost leaves the other as it is', async () => {
    const lost = await native().open({ device: second!, loseAfter: 1 });
    const program = await lost.compile(twice(), await lost.loadWeights([]));
    const { y } = await program.run({ x });
    await expect(program.run({ x })).rejects.toMatchObject({ code: 'ERR_DEVICE_LOST' });
    const other = await device.compile(twice(), await device.loadWeights([]));
    expect((await other.run({ x })).y).toEqual(y);
    await other.dispose();
    await lost.dispose();
    expect(lost.memory()).toEqual({ weights: 0, arenas: 0, tensors: 0, scratch: 0 });
  });

  test.skipIf(!second)(
    'two devices at once: each has its own memory, and tensors of one are not inputs of the other',
    async () => {
      const other = await native().open({ device: second!, poison: true });
      const before = device.memory();
      const programs = await Promise.all(
        [device, other].map(async (one) => one.compile(twice(), await one.loadWeights([]))),
      );
      expect(other.memory().arenas).toBe(device.memory().arenas - before.arenas);
      const runs = await Promise.all(
        Array.from({ length: 6 }, (_, i) => programs[i % 2]!.run({ x: x.map((v) => (1 + (i >> 1)) * v) })),
      );
      for (let i = 0; i < 6; i += 2) expect(runs[i]!.y).toEqual(runs[i + 1]!.y);
      const { once } = await programs[1]!.run({ x }, { keep: ['once'] });
      await expect(programs[0]!.run({ x: once as NativeTensor })).rejects.toThrow(
        'belongs to another device',
      );
      await other.dispose();
      expect((await programs[0]!.run({ x })).y).toEqual(runs[0]!.y);
      await programs[0]!.dispose();
    },
  );

  test('a device takes no more memory than it may; what was let go can be had again', async () => {
    const memoryBytes = 1 << 20;
    const small = await native().open({ device: id, memoryBytes });
    expect(small.info.memoryBytes).toBe(memoryBytes);
    const weights = await small.loadWeights([]);
    const of = (side: number) => {
      const g = new Graph('sized');
      g.output('y', g.op('activation', 'silu', { x: g.input('x', [side, side]) }, {}, { fn: 'silu' }));
      return plan(g);
    };
    const first = await small.compile(of(256), weights);
    await expect(small.compile(of(256), weights)).rejects.toMatchObject({ code: 'ERR_OUT_OF_MEMORY' });
    // The one there is goes on, also where a run finds no room for what it is to keep.
    const ones = new Float32Array(256 * 256).fill(1);
    const kept: NativeTensor[] = [];
    await expect(
      (async () => {
        for (;;) kept.push((await first.run({ x: ones }, { keep: ['y'] })).y as NativeTensor);
      })(),
    ).rejects.toMatchObject({
      code: 'ERR_OUT_OF_MEMORY',
      message: expect.stringContaining('kept on the device'),
    });
    expect(kept.length).toBeGreaterThan(0);
    for (const tensor of kept) tensor.dispose();
    expect((await first.run({ x: ones })).y).toHaveLength(256 * 256);
    await first.dispose();
    await (await small.compile(of(256), weights)).dispose();
    expect(small.memory()).toEqual({ weights: 0, arenas: 0, tensors: 0, scratch: 0 });
    await small.dispose();
  });
}
