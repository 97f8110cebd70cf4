import { describe } from 'vitest';
import { native } from '../../sidecar/native.ts';
import { DEVICE, hasGpu } from '../support/gpu.ts';
import { testProgram } from '../support/gpu-program.ts';

// The executor on a GPU, or two of them: graphs, memory that is given back, and that there is not.

describe.skipIf(!hasGpu())(`programs on ${DEVICE}`, () => {
  const others = native()
    .devices()
    .filter(({ id, threads }) => threads === 0 && id !== DEVICE);
  testProgram(DEVICE, others[0]?.id);
});
