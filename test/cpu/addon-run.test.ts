import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Plan } from '../../sidecar/graph/plan.ts';
import { type NativeDevice, type NativeProgram, type NativeTensor, native } from '../../sidecar/native.ts';
import { f32, linearChain, scaling } from '../support/plans.ts';

const ones = (n: number) => new Float32Array(n).fill(1);

let device: NativeDevice;
let program: NativeProgram;
beforeAll(async () => {
  device = await native().open({ device: 'cpu', poison: true });
  program = await device.compile(linearChain(2, 8, 3), await device.loadWeights(scaling(8, 3)));
});
afterAll(() => device.dispose());

describe('inputs', () => {
  test.each([
    [{}, TypeError, 'Missing input "x" of plan "chain"'],
    [{ x: undefined }, TypeError, 'Missing input "x" of plan "chain"'],
    [{ x: ones(16), z: ones(1) }, RangeError, 'Unknown input "z" of plan "chain": it has x'],
    [
      { x: ones(15) },
      RangeError,
      'Expected 16 elements [2, 8] for input "x" of plan "chain" but received 15',
    ],
    [
      { x: new Int32Array(16) },
      TypeError,
      'Expected a Float32Array or a NativeTensor, or a list of them, for input "x" of plan "chain" but received an Int32Array',
    ],
    [{ x: [1, 2] }, TypeError, 'NativeTensor for part 0 of input "x" of plan "chain" but received 1'],
    [{ x: [] }, RangeError, 'Expected 16 elements [2, 8] for input "x" of plan "chain" but received 0'],
    [
      { x: [ones(8), ones(9)] },
      RangeError,
      'Expected whole rows of [8] for part 1 of input "x" of plan "chain" but received 9 elements',
    ],
    [
      { x: [ones(8), ones(0), ones(8)] },
      RangeError,
      'part 1 of input "x" of plan "chain" but received 0 elements',
    ],
    [
      { x: [ones(8), ones(16)] },
      RangeError,
      'Expected 16 elements [2, 8] for input "x" of plan "chain" but received 24',
    ],
    [
      { x: [ones(8), new Int32Array(8)] },
      TypeError,
      'part 1 of input "x" of plan "chain" but received an Int32Array',
    ],
    [{ x: null }, TypeError, 'for input "x" of plan "chain" but received null'],
    [null, TypeError, 'Expected an object for inputs of plan "chain" but received null'],
  ])('run(%o) is refused', async (inputs, kind, message) => {
    const error = await program.run(inputs as never).catch((e) => e);
    expect(error).toBeInstanceOf(kind);
    expect(error.message).toContain(message);
  });

  test('int32 ids', async () => {
    const plan: Plan = {
      version: 1,
      name: 'ids',
      arenaBytes: 256,
      inputs: [{ name: 'ids', dtype: 'i32', shape: [1, 2], offset: 0 }],
      outputs: [{ name: 'y', ...f32([1, 2, 4], 64) }],
      ops: [
        {
          op: 'embedding',
          scope: 'embeddings',
          inputs: { ids: { dtype: 'i32', shape: [1, 2], offset: 0 } },
          weights: {
            weight: { names: ['table'], shape: [3, 4] },
            position: { names: ['position'], shape: [2, 4] },
          },
          attrs: {},
          output: f32([1, 2, 4], 64),
        },
      ],
    };
    const weights = await device.loadWeights([
      { name: 'table', dtype: 'F32', shape: [3, 4], data: Float32Array.from({ length: 12 }, (_, i) => i) },
      { name: 'position', dtype: 'F32', shape: [2, 4], data: new Float32Array(8).fill(100) },
    ]);
    const embed = await device.compile(plan, weights);
    const { y } = await embed.run({ ids: Int32Array.of(2, 0) });
    expect(y).toEqual(Float32Array.of(108, 109, 110, 111, 100, 101, 102, 103));
    await expect(embed.run({ ids: ones(2) })).rejects.toThrow(
      'Expected an Int32Array or a NativeTensor, or a list of them, for input "ids"',
    );
    const kept = await program.run({ x: ones(16) }, { keep: ['y'] });
    await expect(embed.run({ ids: kept.y! })).rejects.toThrow('of i32 for input "ids" of plan "ids"');
  });
});

describe('rows', () => {
  const row = (value: number) => new Float32Array(8).fill(value);

  test('of arrays and tensors, one after the other, make an input', async () => {
    const single = await device.compile(linearChain(1, 8, 3), await device.loadWeights(scaling(8, 3)));
    const kept = async (value: number) =>
      (await single.run({ x: row(value) }, { keep: ['y'] })).y as NativeTensor;
    const [one, two] = [await kept(0), await kept(1)];
    const values = (n: number) => new Float32Array(16).fill(n, 8).fill(n, 0, 8);
    // y = 8x + 7, from 0: 7; from 1: 15.
    expect((await program.run({ x: [two, one] })).y).toEqual(
      Float32Array.of(...row(8 * 15 + 7), ...row(8 * 7 + 7)),
    );
    expect((await program.run({ x: [one, one] })).y).toEqual(values(8 * 7 + 7));
    expect((await program.run({ x: [row(2), one] })).y).toEqual(
      Float32Array.of(...row(23), ...row(8 * 7 + 7)),
    );
    expect((await program.run({ x: [ones(16)] })).y).toEqual(values(15));
    const after = program.run({ x: [row(2), two] });
    two.dispose(); // the run in flight still has it
    expect((await after).y).toEqual(Float32Array.of(...row(23), ...row(8 * 15 + 7)));
    await expect(program.run({ x: [one, two] })).rejects.toThrow(
      'The NativeTensor for part 1 of input "x" of plan "chain" has been disposed',
    );
    await single.dispose();
  });

  test('of another shape are refused', async () => {
    const wide = await device.compile(linearChain(1, 4, 1), await device.loadWeights(scaling(4, 1)));
    const { y } = await wide.run({ x: ones(4) }, { keep: ['y'] });
    await expect(program.run({ x: [ones(8), y!] })).rejects.toThrow(
      'Expected whole rows of [8] for part 1 of input "x" of plan "chain" but received a NativeTensor [1, 4]',
    );
  });
});

describe('until', () => {
  test('returns the output of that op alone', async () => {
    expect(await program.run({ x: ones(16) }, { until: 0 })).toEqual({ until: ones(16).fill(3) });
    expect(await program.run({ x: ones(16) }, { until: 1 })).toEqual({ until: ones(16).fill(7) });
    expect(await program.run({ x: ones(16) })).toEqual({ y: ones(16).fill(15) });
  });

  test.each([-1, 3, 0.5, 'last'])('%s is refused', async (until) => {
    await expect(program.run({ x: ones(16) }, { until: until as number })).rejects.toThrow('options.until');
  });
});

describe('keep', () => {
  test('passes a tensor from one program to another on the device', async () => {
    const { y } = (await program.run({ x: ones(16) }, { keep: ['y'] })) as { y: NativeTensor };
    expect(y.shape).toEqual([2, 8]);
    expect(y.bytes).toBe(64);
    const after = program.run({ x: y });
    y.dispose(); // the run in flight still has it
    expect((await after).y).toEqual(ones(16).fill(15 * 8 + 7));
    await expect(program.run({ x: y })).rejects.toThrow(
      'The NativeTensor for input "x" of plan "chain" has been disposed',
    );
  });

  test('a kept tensor does not change with later runs', async () => {
    const { y } = await program.run({ x: ones(16) }, { keep: ['y'] });
    await program.run({ x: ones(16).fill(5) });
    expect((await program.run({ x: y! }, { until: 0 })).until).toEqual(ones(16).fill(31));
  });

  test('an unknown name is refused', async () => {
    await expect(program.run({ x: ones(16) }, { keep: ['z'] })).rejects.toThrow(
      'Unknown output "z" of plan "chain" for options.keep[0]: it has y',
    );
  });

  test("another device's tensors and weights are refused", async () => {
    const other = await native().open({ device: 'cpu-reference', threads: 1 });
    const weights = await other.loadWeights(scaling(8, 3));
    const twin = await other.compile(linearChain(2, 8, 3), weights);
    const { y } = await twin.run({ x: ones(16) }, { keep: ['y'] });
    await expect(program.run({ x: y! })).rejects.toThrow('belongs to another device');
    await expect(device.compile(linearChain(2, 8, 3), weights)).rejects.toThrow(
      'The weights belong to another device',
    );
    await expect(device.compile(linearChain(2, 8, 3), {} as never)).rejects.toThrow(
      'Expected NativeWeights for weights but received an Object',
    );
    await other.dispose();
  });
});

describe('poison', () => {
  const stale: Plan = {
    version: 1,
    name: 'stale',
    arenaBytes: 128,
    inputs: [],
    outputs: [{ name: 'y', ...f32([4], 64) }],
    ops: [
      {
        op: 'activation',
        scope: 'silu',
        inputs: { x: f32([4], 0) },
        weights: {},
        attrs: { fn: 'silu' },
        output: f32([4], 64),
      },
    ],
  };

  test('shows a read of memory that no op has written', async () => {
    const reader = await device.compile(stale, await device.loadWeights([]));
    for (let i = 0; i < 2; i++)
      expect((await reader.run({})).y).toEqual(new Float32Array(4).fill(Number.NaN));
  });
});

test('objects come from the addon alone', () => {
  const Program = program.constructor as new (...args: unknown[]) => unknown;
  expect(() => new Program()).toThrow('Expected to be called by compile alone');
  expect(() => program.run.call({} as never, { x: ones(16) })).toThrow();
});
