import { opCases } from '../../sidecar/doctor/cases.ts';
import { native } from '../../sidecar/native.ts';
import { testOps } from '../support/gpu-ops.ts';

// As ops.test.ts, of the op whose cases take as long as all others together.

testOps(
  (dtype) => native().open({ device: 'emulator', dtype, poison: true }),
  opCases().filter(({ op }) => op === 'conv2d'),
);
