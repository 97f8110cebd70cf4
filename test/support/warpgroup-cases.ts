import { type RunnableCase, runnable } from '../../sidecar/doctor/cases.ts';
import type { OpCase } from '../../sidecar/graph/ops.ts';

// What a Hopper's warpgroups do with products and attention. Comments say how a product is cut on four multiprocessors, as
// the emulator has them. Those with tensor maps take every cut of choose in gemm_tma.cu, and every kind of windows. Those
// without take two of choose in gemm_hopper.cu, 128×160 whole and 128×128 with two blocks to a multiprocessor, which has the
// shortest ring; the op table's cases take the other three. Activations but GEGLU have no tensor maps. Attention takes each
// number of warpgroups of groups_of in attention_hopper.cu, which has none for few keys.

const attend = (
  [images, queries, keys]: [number, number, number],
  [heads, head_size]: [number, number],
  attrs: OpCase['attrs'] = {},
): ['attention', OpCase] => [
  'attention',
  {
    tensors: { q: [images, queries, heads * head_size], kv: [images, keys, 2 * heads * head_size] },
    attrs: { heads, head_size, causal: false, ...attrs },
  },
];
const linear = (
  x: number[],
  columns: number,
  also: string[] = [],
  activation = 'none',
): ['linear', OpCase] => [
  'linear',
  { tensors: { x, weight: [columns, x.at(-1)!] }, attrs: { activation }, also: ['bias', ...also] },
];
const conv = (
  [x, second = 0]: [x: number[], second?: number],
  [columns, kernel]: [number, number],
  attrs: OpCase['attrs'],
  also: string[] = [],
): ['conv2d', OpCase] => [
  'conv2d',
  {
    tensors: {
      x,
      ...(second > 0 && { x2: [...x.slice(0, 3), second] }),
      weight: [columns, x[3]! + second, kernel, kernel],
    },
    attrs: { stride: 1, padding: Array.from({ length: 4 }, () => kernel >> 1), ...attrs },
    also: ['bias', ...also],
  },
];
const cases: [op: 'linear' | 'conv2d' | 'attention', OpCase][] = [
  linear([2, 64, 640], 640, ['residual'], 'gelu'), // without tensor maps
  linear([128, 640], 1024, [], 'gelu'),
  linear([2, 64, 640], 640, ['residual']), // 128×160
  conv([[2, 9, 9, 72]], [96, 3], {}, ['temb', 'residual']), // 128×128, its depth in two
  linear([300, 320], 256), // 128×256
  linear([600, 64], 64), // 256×128
  linear([2, 250, 1024], 320, ['residual']), // 256×160
  linear([990, 192], 320, ['residual']), // 128×160, warpgroups in turn
  linear([500, 200], 512, ['residual']), // 128×128, likewise
  linear([300, 136], 1280, [], 'geglu'),
  conv([[3, 13, 11, 96], 40], [64, 3], {}, ['temb', 'residual']), // two sources, neither of whole stages
  conv([[3, 17, 12, 64]], [96, 3], { stride: 2 }),
  conv([[2, 16, 18, 40]], [64, 3], { stride: 2, padding: [0, 0, 1, 1] }, ['residual']),
  conv([[2, 19, 20, 24]], [64, 4], { stride: 3, padding: [2, 2, 1, 1] }),
  conv([[2, 9, 9, 72]], [80, 5], {}),
  conv([[1, 8, 8, 64]], [64, 1], { padding: [1, 1, 1, 1] }), // no matrix of rows
  conv([[3, 20, 21, 72]], [160, 3], {}, ['temb', 'residual']), // several tiles a block
  conv([[3, 16, 20, 40]], [160, 3], { upsample: [32, 40] }, ['residual']),
  conv([[2, 9, 9, 72], 40], [68, 3], {}, ['temb', 'residual']), // columns not by eights: without tensor maps
  conv([[2, 16, 18, 40]], [68, 3], { stride: 2 }, ['residual']),
  conv([[2, 5, 6, 72]], [64, 3], { upsample: [10, 12] }),
  conv([[2, 9, 8, 40], 32], [160, 3], { upsample: [18, 16] }, ['temb', 'residual']),
  conv([[2, 5, 6, 64]], [64, 3], { upsample: [9, 11] }), // the last pixel is there once: without tensor maps
  attend([1, 70, 513], [4, 40]), // four warpgroups, of which two have no queries
  attend([2, 150, 577], [1, 24]), // two
  attend([1, 520, 520], [2, 64], { causal: true }), // four
  attend([1, 200, 514], [2, 64], { scale: 1 }), // two; the highest score changes by much from key to key
  attend([1, 60, 640], [1, 48]), // one
  attend([1, 100, 300], [4, 80], { scale: 1.5 }),
  attend([2, 70, 257], [1, 160]),
];

export const warpgroupCases: RunnableCase[] = cases.map(([op, one]) => runnable(op, one));
