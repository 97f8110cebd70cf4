import { describe, expect, it } from 'vitest';
import { openDevices } from '../../sidecar/engine/devices/open.ts';
import { parseDevices } from '../../sidecar/engine/devices/spelling.ts';
import type { DeviceInfo, Listing, NativeAddon, OpenOptions } from '../../sidecar/native.ts';

const info = (id: string, threads = 0) =>
  ({ id, name: threads > 0 ? 'a CPU' : 'a GPU', threads, memoryBytes: 1200 }) as DeviceInfo;
const list = () => [info('cpu', 5), info('cpu-reference', 5), info('cuda:0'), info('cuda:1')];

describe('the setting device', () => {
  it.each<[string, (string | undefined)[], string[]]>([
    ['cpu', [undefined], ['cpu']],
    ['auto', [undefined], ['auto']],
    ['cuda:1, cpu', [undefined, undefined], ['cuda:1', 'cpu']],
    ['cuda', [undefined, undefined], ['cuda:0', 'cuda:1']],
    ['emulator,emulator:1', [undefined, undefined], ['emulator', 'emulator:1']],
    ['cpu*1', ['cpu'], ['cpu']],
    ['cpu*3', ['cpu:0', 'cpu:1', 'cpu:2'], ['cpu', 'cpu', 'cpu']],
    ['cuda:0,cpu*2', [undefined, 'cpu:0', 'cpu:1'], ['cuda:0', 'cpu', 'cpu']],
  ])('%s', (text, ids, devices) => {
    const parsed = parseDevices(text, list);
    expect(parsed.map(({ id }) => id)).toEqual(ids);
    expect(parsed.map(({ device }) => device)).toEqual(devices);
  });

  it('names the first GPU where all are meant and there is none, so that opening it says why', () => {
    expect(parseDevices('cuda', () => [info('cpu', 2)])).toMatchObject([{ device: 'cuda:0' }]);
  });

  it.each(['', 'cpu,', 'cpu*0', 'cpu*65', 'cuda*2', 'cpu,cpu*2', 'cuda:0,cuda:0', 'auto,cpu', 'cuda,cuda:0'])(
    'is not %j',
    (text) => {
      expect(() => parseDevices(text, list)).toThrow(`for device but received ${JSON.stringify(text)}`);
    },
  );
});

describe('devices', () => {
  const opened: OpenOptions[] = [];
  const disposed: string[] = [];
  /** Whether GPUs were asked for. */
  const listings: (boolean | undefined)[] = [];
  const addon = {
    devices: (listing?: Listing) => {
      listings.push(listing?.gpus);
      return list();
    },
    open: async (options: OpenOptions) => {
      if (options.device === 'cuda:1') throw new Error('no such GPU');
      opened.push(options);
      const dispose = async () => void disposed.push(options.device);
      return { info: info(options.device, options.threads), dispose };
    },
  } as unknown as NativeAddon;
  const open = (device: string, threads?: number) =>
    openDevices({ device, ...(threads && { threads }) }, () => {}, addon);

  it('on one CPU share its threads and its memory', async () => {
    const workers = await open('cpu*3');
    expect(opened.splice(0).map(({ threads }) => threads)).toEqual([2, 2, 1]);
    expect(workers.map(({ id, memoryBytes }) => [id, memoryBytes])).toEqual([
      ['cpu:0', 400],
      ['cpu:1', 400],
      ['cpu:2', 400],
    ]);
    await open('cpu*3', 2);
    expect(opened.splice(0).map(({ threads }) => threads)).toEqual([1, 1, 1]);
  });

  it('on the CPU alone are opened without a word to the driver of GPUs', async () => {
    listings.length = 0;
    for (const device of ['cpu', 'cpu*2', 'cpu*1']) await open(device);
    expect(new Set(listings)).toEqual(new Set([false]));
    await open('cuda:0');
    expect(listings.at(-1)).not.toBe(false);
    opened.length = 0;
    disposed.length = 0;
  });

  it('are CPUs where weights are to be kept in 8 bits', async () => {
    const keep = (device: string) => openDevices({ device, weights: 'int8' }, () => {}, addon);
    expect(await keep('cpu*2')).toHaveLength(2);
    await expect(keep('cpu,cuda:0')).rejects.toThrow(
      'Expected cpu or cpu*N for device where weights are kept in int8 but received cuda:0 (a GPU)',
    );
    expect(disposed.splice(0)).toEqual(['cpu', 'cuda:0']);
  });

  it('are opened all or none', async () => {
    await expect(open('cpu,cuda:0,cuda:1')).rejects.toThrow('no such GPU');
    expect(disposed).toEqual(['cpu', 'cuda:0']);
  });
});
