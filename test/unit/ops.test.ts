import { describe, expect, test } from 'vitest';
import { opCases } from '../../sidecar/doctor/cases.ts';
import { Graph } from '../../sidecar/graph/builder.ts';
import { type OpName, ops } from '../../sidecar/graph/ops.ts';
import type { Attr } from '../../sidecar/graph/plan.ts';
import { cost, plan } from '../../sidecar/graph/planner.ts';

const conv = { stride: 1, padding: [1, 1, 1, 1] };

function build(
  op: OpName,
  inputs: Record<string, number[]>,
  weights: Record<string, number[]>,
  attrs: Record<string, Attr>,
) {
  const g = new Graph('test');
  const tensors = Object.entries(inputs).map(([name, shape]) => [name, g.input(name, shape)] as const);
  const params = Object.entries(weights).map(([name, shape]) => [name, g.param(name, shape)] as const);
  g.output('y', g.op(op, 'block.0', Object.fromEntries(tensors), Object.fromEntries(params), attrs));
  return plan(g).ops[0]!;
}

test('every op has cases, and each of them has a shape and a cost', () => {
  for (const { op, cases } of opCases()) {
    expect(cases.length, op).toBeGreaterThan(1);
    for (const { plan } of cases) expect(cost(plan.ops[0]!).bytes).toBeGreaterThan(0);
  }
  expect(Object.keys(ops)).toHaveLength(14);
});

describe('shapes', () => {
  test.each<[OpName, Record<string, number[]>, Record<string, number[]>, Record<string, Attr>, number[]]>([
    ['to_nhwc', { x: [2, 3, 4, 5] }, {}, {}, [2, 4, 5, 3]],
    ['to_nchw', { x: [2, 4, 5, 3] }, {}, {}, [2, 3, 4, 5]],
    ['to_nchw', { x: [2, 4, 5, 8] }, {}, { channels: [4, 8] }, [2, 4, 4, 5]],
    ['linear', { x: [2, 3, 8] }, { weight: [12, 8] }, { activation: 'geglu' }, [2, 3, 6]],
    ['conv2d', { x: [1, 9, 7, 4] }, { weight: [6, 4, 3, 3] }, conv, [1, 9, 7, 6]],
    ['conv2d', { x: [1, 9, 7, 4] }, { weight: [6, 4, 3, 3] }, { ...conv, stride: 2 }, [1, 5, 4, 6]],
    [
      'conv2d',
      { x: [1, 9, 7, 4] },
      { weight: [6, 4, 3, 3] },
      { stride: 2, padding: [0, 0, 1, 1] },
      [1, 4, 3, 6],
    ],
    ['conv2d', { x: [1, 5, 4, 4] }, { weight: [6, 4, 3, 3] }, { ...conv, upsample: [9, 8] }, [1, 9, 8, 6]],
    ['conv2d', { x: [1, 2, 2, 4], x2: [1, 2, 2, 3] }, { weight: [6, 7, 3, 3] }, conv, [1, 2, 2, 6]],
    ['affine', { x: [2, 3, 4] }, {}, { scale: 2, shift: -1 }, [2, 3, 4]],
    ['repeat', { x: [2, 3, 4] }, {}, { times: 3 }, [6, 3, 4]],
    ['quantize', { x: [2, 3, 4] }, { codebook: [9, 4] }, {}, [2, 3, 4]],
    [
      'zero_conv',
      { x: [2, 3, 5, 4], scale: [3, 2], onto: [2, 3, 5, 6] },
      { weight: [6, 4], bias: [6] },
      { level: 2 },
      [2, 3, 5, 6],
    ],
    ['attention', { q: [2, 5, 48] }, {}, { heads: 2, head_size: 8 }, [2, 5, 16]],
    ['attention', { q: [2, 5, 16], kv: [2, 77, 32] }, {}, { heads: 2, head_size: 8 }, [2, 5, 16]],
  ])('%s %o', (op, inputs, weights, attrs, expected) => {
    expect(build(op, inputs, weights, attrs).output.shape).toEqual(expected);
  });
});

describe('a mismatch names the tensor, the op and its scope', () => {
  test.each<[OpName, Record<string, number[]>, Record<string, number[]>, Record<string, Attr>, string]>([
    ['linear', { x: [2, 8] }, { weight: [4, 9] }, {}, 'Expected [4, 8] [N,K] for weight but received [4, 9]'],
    ['linear', { x: [2, 8] }, {}, {}, 'Expected tensor weight [N,K] but received nothing'],
    ['linear', { x: [2, 8], y: [1] }, { weight: [4, 8] }, {}, 'residual, weight, bias but received y'],
    ['linear', { x: [2, 8] }, { weight: [5, 8] }, { activation: 'geglu' }, 'but received [2, 2.5]'],
    [
      'linear',
      { x: [2, 8] },
      { weight: [4, 8] },
      { activation: 'relu' },
      'geglu for activation? but received relu',
    ],
    [
      'linear',
      { x: [2, 8], residual: [3, 4] },
      { weight: [4, 8] },
      {},
      'Expected [2, 4] [..,O] for residual',
    ],
    ['conv2d', { x: [1, 4, 4, 8] }, { weight: [6, 7, 3, 3] }, conv, 'Expected [1, 4, 4, 7] [N,H,W,C1] for x'],
    [
      'conv2d',
      { x: [1, 4, 4, 8], x2: [1, 4, 3, 2] },
      { weight: [6, 10, 3, 3] },
      conv,
      'for x2 but received [1, 4, 3, 2]',
    ],
    [
      'conv2d',
      { x: [1, 4, 4, 8] },
      { weight: [6, 8, 3, 3] },
      { ...conv, upsample: [9, 8] },
      'Expected [1, 5, 4, 8]',
    ],
    ['conv2d', { x: [1, 4, 4, 8] }, { weight: [6, 8, 3, 3] }, { stride: 1 }, 'Expected int[4] for padding'],
    [
      'conv2d',
      { x: [1, 2, 2, 8] },
      { weight: [6, 8, 5, 5] },
      { stride: 1, padding: [0, 0, 0, 0] },
      'at least one element',
    ],
    [
      'conv2d',
      { x: [1, 4, 4] },
      { weight: [6, 8, 3, 3] },
      conv,
      'Expected [N,H,W,C1] for x but received [1, 4, 4]',
    ],
    [
      'group_norm',
      { x: [1, 4, 6] },
      { weight: [6], bias: [6] },
      { groups: 4, eps: 1, silu: true },
      'in 4 groups but received 6',
    ],
    [
      'attention',
      { q: [1, 4, 24], kv: [1, 7, 40] },
      {},
      { heads: 3, head_size: 8 },
      'Expected [1, 7, 48] [B,S,KV] for kv',
    ],
    [
      'quantize',
      { x: [2, 4] },
      { codebook: [9, 3] },
      {},
      'Expected [9, 4] [V,C] for codebook but received [9, 3]',
    ],
    [
      'embedding',
      { ids: [1, 4] },
      { weight: [9, 2], position: [9, 2] },
      {},
      'Expected i32 for ids but received f32',
    ],
  ])('%s %o', (op, inputs, weights, attrs, message) => {
    expect(() => build(op, inputs, weights, attrs)).toThrow(message);
    expect(() => build(op, inputs, weights, attrs)).toThrow(`in ${op} at block.0`);
  });
});

test('cost counts two operations for each multiply-add, and every tensor once', () => {
  expect(cost(build('linear', { x: [2, 3, 8] }, { weight: [4, 8], bias: [4] }, {}))).toEqual({
    flops: 2 * 6 * 8 * 4,
    bytes: 4 * (48 + 32 + 4 + 24),
  });
  const upsampled = build(
    'conv2d',
    { x: [1, 4, 4, 8] },
    { weight: [6, 8, 3, 3] },
    { ...conv, upsample: [8, 8] },
  );
  expect(cost(upsampled).flops).toBe(2 * 64 * 6 * 8 * 9);
  expect(
    cost(build('attention', { q: [1, 5, 16], kv: [1, 7, 32] }, {}, { heads: 2, head_size: 8 })).flops,
  ).toBe(4 * 5 * 7 * 16);
});
