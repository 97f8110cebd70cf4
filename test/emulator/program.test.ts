import { testProgram } from '../support/gpu-program.ts';

// The executor of the CUDA backend, on the emulator's two devices.

testProgram('emulator', 'emulator:1');
