import { describe } from 'vitest';
import { opCases } from '../../sidecar/doctor/cases.ts';
import { native, type Precision } from '../../sidecar/native.ts';
import { testOps } from '../support/gpu-ops.ts';
import { warpgroupCases } from '../support/warpgroup-cases.ts';

// Products and attention again, on the device that has what a Hopper has.

const open = (dtype: Precision) => native().open({ device: 'emulator:1', dtype, poison: true });
const reference = { device: 'cpu-reference', threads: 1 };
const isOfWarpgroups = ({ op }: { op: string }) =>
  ['attention', 'conv2d', 'linear', 'zero_conv'].includes(op);

// What differs between the types is in the cuts' cases; in float32 the devices are the same.
describe('cuts', () => testOps(open, [{ op: 'cuts', cases: warpgroupCases }], reference, ['f16', 'bf16']));
describe('cases of the op table', () => testOps(open, opCases().filter(isOfWarpgroups), reference, ['f16']));
