import { expect, test } from 'vitest';
import { openDevice } from '../../sidecar/engine/devices/open.ts';
import { native } from '../../sidecar/native.ts';

// A build with CUDA kernels on a machine without a GPU, or without its driver.

const hasGpu = native()
  .devices()
  .some(({ id }) => id === 'cuda:0');

test.skipIf(hasGpu)(
  'it loads, opens no GPU, and computes on the CPU with one line that says why',
  async () => {
    const why = /NVIDIA driver|no CUDA kernels/;
    await expect(native().open({ device: 'cuda:0' })).rejects.toThrow(why);
    const said: string[] = [];
    const device = await openDevice({ device: 'auto' }, (line) => said.push(line));
    expect(device.info.id).toBe('cpu');
    expect(said).toEqual([expect.stringMatching(why)]);
    await device.dispose();
  },
);
