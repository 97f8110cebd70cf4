import { type NativeDevice, native } from '../../sidecar/native.ts';
import { testOps } from '../support/gpu-ops.ts';

// Every case of the op table: the CUDA kernels, run by the emulator, against the CPU's plain loops, on poisoned arenas.

testOps((dtype): Promise<NativeDevice> => native().open({ device: 'emulator', dtype, poison: true }));
