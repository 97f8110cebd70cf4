import { opCases } from '../../sidecar/doctor/cases.ts';
import { native } from '../../sidecar/native.ts';
import { testOps } from '../support/gpu-ops.ts';

// Every case of the op table: the CUDA kernels, run by the emulator, against the CPU's plain loops, on poisoned arenas.
// Convolutions are in ops-conv2d.test.ts, so that two workers can share them.

testOps(
  (dtype) => native().open({ device: 'emulator', dtype, poison: true }),
  opCases().filter(({ op }) => op !== 'conv2d'),
);
