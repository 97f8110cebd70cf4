import { describe } from 'vitest';
import { opCases, runnable } from '../../sidecar/doctor/cases.ts';
import type { OpCase } from '../../sidecar/graph/ops.ts';
import { native, type Precision } from '../../sidecar/native.ts';
import { testOps } from '../support/gpu-ops.ts';

// Products and attention again, on the device that has what a Hopper has. Of the products' cuts (choose in
// gemm_hopper.cu) the op table's cases take three; these take the others: 128×160, whole, and 128×128 with two blocks to
// a multiprocessor, which has the shortest ring. And 1×1 with padding, which is no matrix of rows. Of attention's
// (groups_of in attention_hopper.cu, for four multiprocessors) each: few keys are not for warpgroups.
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
const more: [op: 'linear' | 'conv2d' | 'attention', OpCase][] = [
  [
    'linear',
    {
      tensors: { x: [2, 64, 640], weight: [640, 640] },
      attrs: { activation: 'none' },
      also: ['bias', 'residual'],
    },
  ],
  [
    'linear',
    { tensors: { x: [128, 640], weight: [1024, 640] }, attrs: { activation: 'none' }, also: ['bias'] },
  ],
  [
    'conv2d',
    {
      tensors: { x: [1, 8, 8, 64], weight: [64, 64, 1, 1] },
      attrs: { stride: 1, padding: [1, 1, 1, 1] },
      also: ['bias'],
    },
  ],
  attend([1, 70, 513], [4, 40]), // four warpgroups, of which two have no queries
  attend([2, 150, 577], [1, 24]), // two
  attend([1, 520, 520], [2, 64], { causal: true }), // four
  attend([1, 200, 514], [2, 64], { scale: 1 }), // two; the highest score changes by much from key to key
  attend([1, 60, 640], [1, 48]), // one
  attend([1, 100, 300], [4, 80], { scale: 1.5 }),
  attend([2, 70, 257], [1, 160]),
];

const open = (dtype: Precision) => native().open({ device: 'emulator:1', dtype, poison: true });
const reference = { device: 'cpu-reference', threads: 1 };
const isOfWarpgroups = ({ op }: { op: string }) =>
  ['attention', 'conv2d', 'linear', 'zero_conv'].includes(op);

// What differs between the types is in the cuts' cases; in float32 the devices are the same.
describe('cuts', () =>
  testOps(open, [{ op: 'cuts', cases: more.map(([op, one]) => runnable(op, one)) }], reference, [
    'f16',
    'bf16',
  ]));
describe('cases of the op table', () => testOps(open, opCases().filter(isOfWarpgroups), reference, ['f16']));
