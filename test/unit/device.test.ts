import { afterEach, expect, test, vi } from 'vitest';
import { driverStart, openDevice } from '../../sidecar/engine/devices/open.ts';
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

afterEach(() => {
  vi.useRealTimers();
});

/** A machine whose GPU never opens. */
function hanging(): NativeAddon {
  const { devices, open } = addon('cpu');
  return {
    devices,
    open: (options) => (options.device === 'cpu' ? open(options) : new Promise(() => {})),
  };
}

test('a GPU that does not open within its time hangs', async () => {
  vi.useFakeTimers();
  const opening = openDevice({ device: 'cuda:0' }, () => {}, hanging()).catch((error) => error);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await opening).toMatchObject({
    ...{ code: 'ERR_DEVICE_LOST', message: 'opening cuda:0 has not ended within 60 s: it hangs' },
  });
});

test('auto is the CPU then', async () => {
  vi.useFakeTimers();
  const said: string[] = [];
  const opening = openDevice({ device: 'auto', runTimeout: 5 }, (line) => said.push(line), hanging());
  await vi.advanceTimersByTimeAsync(5000);
  expect((await opening).info.id).toBe('cpu');
  expect(said).toEqual(['computing on the CPU: opening cuda:0 has not ended within 5 s: it hangs']);
});

test('a driver that does not start is told, and no GPU opened; the CPU needs none', async () => {
  const asked: unknown[] = [];
  const silent: NativeAddon = {
    ...addon('cpu', 'cuda:0'),
    devices(start) {
      asked.push(start);
      throw Object.assign(new Error('it hangs'), { code: 'ERR_DEVICE_LOST' });
    },
  };
  await expect(openDevice({ device: 'cuda:0', runTimeout: 5 }, () => {}, silent)).rejects.toThrow('it hangs');
  expect(asked).toEqual([{ patienceMs: 5000, hang: false }]);
  expect((await openDevice({ device: 'cpu' }, () => {}, silent)).info.id).toBe('cpu');
});

test('the driver may take a minute to start, as long as is said, or for ever', () => {
  expect([undefined, 5].map((seconds) => driverStart(seconds).patienceMs)).toEqual([60_000, 5000]);
  // The longest that the addon takes.
  expect(driverStart(0).patienceMs).toBe(2 ** 32);
});
