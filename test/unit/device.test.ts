import { expect, test } from 'vitest';
import { openDevice } from '../../sidecar/engine/devices/open.ts';
import type { NativeAddon, NativeDevice, OpenOptions } from '../../sidecar/native.ts';

/** An addon that opens some devices, and says why not of others. */
function addon(...ids: string[]): NativeAddon {
  return {
    devices: () => [],
    open: async (options: OpenOptions) => {
      if (!ids.includes(options.device)) throw new Error(`Unknown device "${options.device}": no driver`);
      return { info: { id: options.device, dtype: options.dtype } } as NativeDevice;
    },
  };
}

test('auto is the first GPU', async () => {
  const said: string[] = [];
  const device = await openDevice(
    { device: 'auto', dtype: 'bf16' },
    (line) => said.push(line),
    addon('cpu', 'cuda:0'),
  );
  expect(device.info).toEqual({ id: 'cuda:0', dtype: 'bf16' });
  expect(said).toEqual([]);
});

test('auto is the CPU where there is no GPU, and one line says why', async () => {
  const said: string[] = [];
  const device = await openDevice({ device: 'auto' }, (line) => said.push(line), addon('cpu'));
  expect(device.info.id).toBe('cpu');
  expect(said).toEqual(['computing on the CPU: Unknown device "cuda:0": no driver']);
});

test('a device that is named is not replaced by another', async () => {
  await expect(openDevice({ device: 'cuda:1' }, () => {}, addon('cpu', 'cuda:0'))).rejects.toThrow('cuda:1');
});
