import type { DeviceInfo } from '../../native.ts';

/** What the setting `device` may say, for messages and help. */
export const DEVICES =
  'cpu, cuda:N, or auto, the first GPU if there is one; several separated by commas; cuda: all GPUs; cpu*N: N workers that share its threads and memory';

/** A worker to be: what it opens, and whether it shares that with others. */
export interface DeviceName {
  /** What it is called; none: by what is opened. */
  id?: string | undefined;
  /** As the addon names it, or `auto`. */
  device: string;
  /** That share the device, and which of them it is. */
  workers: number;
  index: number;
}

/** More on one CPU are of no use to anybody. */
const MAX_WORKERS = 64;

/**
 * `cpu`, `cuda:1`, `auto`, `cuda:0,cuda:1`, `cuda` for every GPU, `cpu*2` for two workers on the CPU.
 * @param list the devices there are; asked where the text does not name them one by one.
 * @throws Error for what is spelled otherwise, or named twice.
 */
export function parseDevices(text: string, list: () => readonly DeviceInfo[]): DeviceName[] {
  const names = text.split(',').map((name) => name.trim());
  const devices = names.flatMap((name) => parseOne(name, text, list));
  const taken = devices.filter(({ index }) => index === 0).map(({ device }) => device);
  const isTwice = new Set(taken).size < taken.length;
  if (isTwice || (names.includes('auto') && names.length > 1))
    throw new Error(
      `Expected each device once, and auto alone, for device but received ${JSON.stringify(text)}`,
    );
  return devices;
}

function parseOne(name: string, text: string, list: () => readonly DeviceInfo[]): DeviceName[] {
  const [, count] = /^cpu\*(\d{1,3})$/.exec(name) ?? [];
  if (count !== undefined && Number(count) >= 1 && Number(count) <= MAX_WORKERS) {
    const workers = Number(count);
    const ids = Array.from({ length: workers }, (_, index) => (workers > 1 ? `cpu:${index}` : 'cpu'));
    return ids.map((id, index) => ({ id, device: 'cpu', workers, index }));
  }
  if (name === '' || name.includes('*'))
    throw new Error(`Expected ${DEVICES}, for device but received ${JSON.stringify(text)}`);
  const gpus = name === 'cuda' ? list().filter(({ id }) => id.startsWith('cuda:')) : [];
  // Where there are none, opening the first one says why.
  const ids = name === 'cuda' && gpus.length === 0 ? ['cuda:0'] : gpus.map(({ id }) => id);
  return (name === 'cuda' ? ids : [name]).map((device) => ({ device, workers: 1, index: 0 }));
}
