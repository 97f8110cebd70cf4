import { opCases } from '../../sidecar/doctor/cases.ts';
import { native } from '../../sidecar/native.ts';
import { testOps } from '../support/gpu-ops.ts';

// Attention again, on the device whose blocks have a Hopper's shared memory.

testOps(
  (dtype) => native().open({ device: 'emulator:1', dtype, poison: true }),
  opCases().filter(({ op }) => op === 'attention'),
);
