import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Plan } from '../../sidecar/graph/plan.ts';
import { type NativeDevice, type NativeWeights, native } from '../../sidecar/native.ts';
import { f32, linearChain, scaling } from '../support/plans.ts';

let device: NativeDevice;
let weights: NativeWeights;
beforeAll(async () => {
  device = await native().open({ device: 'cpu', threads: 1 });
  weights = await device.loadWeights([
    ...scaling(8, 2),
    { name: 'narrow', dtype: 'F32', shape: [4, 8, 1, 1], data: new Float32Array(32).fill(1) },
    {
      name: 'nan',
      dtype: 'F32',
      shape: [8, 8],
      data: new Float32Array(64).fill(1, 0, 63).fill(Number.NaN, 63),
    },
  ]);
});
afterAll(() => device.dispose());

// biome-ignore lint/suspicious/noExplicitAny: plans that are wrong on purpose
const broken = (change: (plan: any) => void): Plan => {
  const plan = structuredClone(linearChain(2, 8, 2));
  change(plan);
  return plan;
};
const op1 = 'linear at layer.1 (op 1): ';

test.each<[string, Plan]>([
  [
    `${op1}input "x": 64 bytes at offset 128 end outside the arena of 128 bytes`,
    broken((p) => {
      p.ops[1].inputs.x.offset = 128;
    }),
  ],
  [
    `${op1}output: 128 bytes at offset 64 end outside the arena`,
    broken((p) => {
      p.ops[1].output = f32([2, 16], 64);
    }),
  ],
  [
    `${op1}output: expected an offset that is a multiple of 64, received 4`,
    broken((p) => {
      p.ops[1].output.offset = 4;
    }),
  ],
  [
    `${op1}output overlaps input "x" in the arena`,
    broken((p) => {
      p.ops[1].output.offset = 64;
    }),
  ],
  [
    `${op1}input "x": shape [4294967296, 4294967296] has too many elements`,
    broken((p) => {
      p.ops[1].inputs.x.shape = [2 ** 32, 2 ** 32];
    }),
  ],
  [
    `${op1}input "x": expected dimensions of at least 1, received [0, 8]`,
    broken((p) => {
      p.ops[1].inputs.x.shape = [0, 8];
    }),
  ],
  [
    'input "x" of plan "chain": 64 bytes at offset 192 end outside the arena',
    broken((p) => {
      p.inputs[0].offset = 192;
    }),
  ],
  [
    'input "x" of plan "chain" occurs twice',
    broken((p) => {
      p.inputs.push(p.inputs[0]);
    }),
  ],
  [
    'inputs "x" and "z" of plan "chain" overlap in the arena',
    broken((p) => {
      p.inputs.push({ ...p.inputs[0], name: 'z' });
    }),
  ],
  [
    'output "y" of plan "chain": expected f32, received i32',
    broken((p) => {
      p.outputs[0].dtype = 'i32';
    }),
  ],
  [
    'warp at layer.1 (op 1): unknown op, expected one of activation, ',
    broken((p) => {
      p.ops[1].op = 'warp';
    }),
  ],
  [
    `${op1}expected input "x", received y`,
    broken((p) => {
      p.ops[1].inputs = { y: p.ops[1].inputs.x };
    }),
  ],
  [
    `${op1}expected weight "absent" of shape [8, 8], the checkpoint has none of that name`,
    broken((p) => {
      p.ops[1].weights.weight.names = ['absent'];
    }),
  ],
  [
    `${op1}expected weight "narrow" of shape [8, 8], the checkpoint has [4, 8, 1, 1]`,
    broken((p) => {
      p.ops[1].weights.weight.names = ['narrow'];
    }),
  ],
  [
    `${op1}expected weight "narrow" + "layer.0.bias" of shape [8, 8], the checkpoint has "layer.0.bias" of shape [8] beside "narrow" of shape [4, 8, 1, 1]`,
    broken((p) => {
      p.ops[1].weights.weight.names = ['narrow', 'layer.0.bias'];
    }),
  ],
  [
    'group_norm at layer.1 (op 1): expected x2 of at least two dimensions [N, ..., C], received []',
    broken((p) => {
      const { x } = p.ops[1].inputs;
      const inputs = { x, x2: { ...x, shape: [] } };
      Object.assign(p.ops[1], { op: 'group_norm', inputs, attrs: { groups: 1, eps: 1e-5 } });
    }),
  ],
  [
    'attention at layer.1 (op 1): expected a whole number of at most 2^30 either way for attribute "heads", received 1099511627776',
    broken((p) => {
      const attrs = { heads: 2 ** 40, head_size: 2 ** 40 };
      Object.assign(p.ops[1], { op: 'attention', inputs: { q: p.ops[1].inputs.x }, attrs });
    }),
  ],
  [
    `${op1}expected weight of fewer elements, received [8, 1099511627776, 1099511627776]`,
    broken((p) => {
      p.ops[1].weights.weight.shape = [8, 2 ** 40, 2 ** 40];
    }),
  ],
  [
    `${op1}weight "nan" is NaN or infinite at element 63`,
    broken((p) => {
      p.ops[1].weights.weight.names = ['nan'];
    }),
  ],
  [
    `${op1}expected weight of dimensions of at least 1, received [8, 0]`,
    broken((p) => {
      p.ops[1].weights.weight.shape = [8, 0];
    }),
  ],
  [
    'Expected an integer from 1 to 1 for plan.version but received 2',
    broken((p) => {
      p.version = 2;
    }),
  ],
  [
    'for plan.ops[1].output.offset but received -64',
    broken((p) => {
      p.ops[1].output.offset = -64;
    }),
  ],
  [
    'Expected an integer for plan.ops[1].inputs.x.shape[0] but received the string "2"',
    broken((p) => {
      p.ops[1].inputs.x.shape[0] = '2';
    }),
  ],
  [
    'Expected f32 or i32 for plan.ops[0].inputs.x.dtype but received the string "f16"',
    broken((p) => {
      p.ops[0].inputs.x.dtype = 'f16';
    }),
  ],
  [
    'Expected a number, a boolean, a string or an array of numbers for plan.ops[0].attrs.activation',
    broken((p) => {
      p.ops[0].attrs.activation = {};
    }),
  ],
  ['Expected an object for plan but received undefined', undefined as never],
])('refuses: %s', async (message, plan) => {
  await expect(device.compile(plan, weights)).rejects.toThrow(message);
});

test('errors of the device tell which call they belong to', async () => {
  const error = await device.compile(linearChain(2, 8, 3), weights).catch((e) => e);
  expect(error.stack).toMatch(
    /^Error: linear at layer\.2 \(op 2\): expected weight "layer\.2\.weight".*\n {4}at .*addon-plan/,
  );
});

test('an arena beyond memory is refused, and the device goes on', async () => {
  const plan = broken((p) => {
    p.arenaBytes = 2 ** 50;
  });
  await expect(device.compile(plan, weights)).rejects.toThrow(
    `Not enough memory: cannot allocate ${2 ** 50} bytes for the arena of a plan`,
  );
  const program = await device.compile(linearChain(2, 8, 2), weights);
  expect((await program.run({ x: new Float32Array(16) })).y).toEqual(new Float32Array(16).fill(3));
});

test('joined weights and trailing dimensions of 1', async () => {
  const plan = broken((p) => {
    p.ops[1].weights.weight.names = ['narrow', 'narrow'];
  });
  const program = await device.compile(plan, weights);
  // (1·2 + 1) in each of 8 channels, summed, + 1
  expect((await program.run({ x: new Float32Array(16).fill(1) })).y).toEqual(new Float32Array(16).fill(25));
});
