import { native } from '../../sidecar/native.ts';
import { GOLDEN, testGolden } from '../support/gpu-golden.ts';

// Whole modules through the CUDA backend on the emulator, in float16: what takes seconds. All of them, in both 16-bit
// types, run on a GPU (test/gpu).

const quick = GOLDEN.filter(([, name]) => ['text-clip-l', 'unet-sd15', 'vae'].includes(name));

testGolden((dtype) => native().open({ device: 'emulator', dtype }), quick, ['f16']);
