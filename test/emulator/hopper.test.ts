import { describe } from 'vitest';
import { opCases, runnable } from '../../sidecar/doctor/cases.ts';
import type { OpCase } from '../../sidecar/graph/ops.ts';
import { native, type Precision } from '../../sidecar/native.ts';
import { testOps } from '../support/gpu-ops.ts';

// Products and attention again, on the device that has what a Hopper has. Of the products' cuts (choose in
// gemm_hopper.cu) the op table's cases take three; these take the others: 128×160, whole, and 128×128 with two blocks to
// a multiprocessor, which has the shortest ring. And 1×1 with padding, which is no matrix of rows.
const more: [op: 'linear' | 'conv2d', OpCase][] = [
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
