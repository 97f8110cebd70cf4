import { opCases } from '../../sidecar/doctor/cases.ts';
import { native } from '../../sidecar/native.ts';
import { testOps } from '../support/gpu-ops.ts';

// The products again, on the device that has Hopper's warpgroups.

testOps(
  (dtype) => native().open({ device: 'emulator:1', dtype, poison: true }),
  opCases().filter(({ op }) => ['conv2d', 'linear', 'zero_conv'].includes(op)),
);
