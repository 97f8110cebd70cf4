import { mkdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { WeightStorage } from '../../checkpoints/weights.ts';
import type { Plan } from '../../graph/plan.ts';
import { planFlops } from '../../graph/planner.ts';
import {
  type DeviceInfo,
  type DriverStart,
  type NativeAddon,
  type NativeDevice,
  native,
  type OpenOptions,
} from '../../native.ts';
import { peakOf } from '../admission/speed.ts';
import { faultsOf, hangs } from './fault.ts';
import { parseDevices } from './spelling.ts';
import { GPU_SECONDS, opened as openedInTime, watched } from './watchdog.ts';

/** A device that is open, by the name that it has here. */
export interface Opened {
  /** `cpu`, `cuda:1`; `cpu:0` and `cpu:1` of two workers on one CPU. */
  id: string;
  device: NativeDevice;
  /** Of its memory, what it may use: a CPU's is shared by its workers. */
  memoryBytes: number;
}

/** What devices are opened with. */
export interface DeviceOptions extends OpenOptions {
  runTimeout?: number | undefined;
  /** How models are to be kept on them. */
  weights?: WeightStorage | undefined;
}

/**
 * Opens all devices that a text names (spelling.ts), or none.
 * @param runTimeout seconds that one run of a program may take in any case (watchdog.ts); 0: as long as it wants;
 * default: GPU_SECONDS of a GPU, and as long as it wants on a CPU.
 * @throws Error when there is no such device, one that cannot keep weights so, or the addon is not built.
 */
export async function openDevices(
  { device: names, runTimeout, weights = 'file', ...options }: DeviceOptions,
  say: (line: string) => void = console.error,
  addon: NativeAddon = native(),
): Promise<Opened[]> {
  const opened: Opened[] = [];
  try {
    const list = (gpus = true) => addon.devices({ ...driverStart(runTimeout), gpus });
    for (const { id, device, workers, index } of parseDevices(names, list)) {
      const threads =
        workers === 1 ? options.threads : share(options.threads ?? coresOf(list(false)), workers, index);
      const given = { ...options, device, threads, runTimeout, ...faultsOf(id ?? device) };
      const native = await openDevice(given, say, addon);
      const { info } = native;
      opened.push({
        ...{ id: id ?? info.id, memoryBytes: info.memoryBytes / workers },
        device: watchedFor(native, runTimeout),
      });
      if (weights === 'int8' && info.id !== 'cpu')
        throw new Error(
          `Expected cpu or cpu*N for device where weights are kept in int8 but received ${info.id} (${info.name})`,
        );
    }
    return opened;
  } catch (error) {
    await Promise.all(opened.map(({ device }) => device.dispose()));
    throw error;
  }
}

/** The device, watched for what does not end; `runTimeout` is openDevices'. */
export function watchedFor(device: NativeDevice, runTimeout?: number): NativeDevice {
  const { info } = device;
  const leastMs = 1000 * (runTimeout ?? (info.threads > 0 ? 0 : GPU_SECONDS));
  const peakMs = (plan: Plan) => planFlops(plan) / peakOf(info);
  return leastMs > 0 ? watched(device, { leastMs, peakMs }) : device;
}

/** Never, to the addon: the most milliseconds that it takes, seven weeks. */
const NEVER_MS = 2 ** 32;

/** What the driver of GPUs may take to start; `runTimeout` is openDevices'. */
export function driverStart(runTimeout = GPU_SECONDS): DriverStart {
  return { patienceMs: runTimeout > 0 ? 1000 * runTimeout : NEVER_MS, hang: hangs('driver') };
}

/**
 * Opens a device; `auto` is the first GPU, or the CPU where none can be used.
 * @param runTimeout openDevices': opening may take as long too.
 * @param say receives one line on why `auto` is the CPU.
 * @throws Error when there is no such device, or the addon is not built; with ERR_DEVICE_LOST where it hangs.
 */
export async function openDevice(
  { runTimeout, ...options }: OpenOptions & { runTimeout?: number | undefined },
  say: (line: string) => void = console.error,
  addon: NativeAddon = native(),
): Promise<NativeDevice> {
  const given = options.providers === 'auto' ? { choicesFile: await choicesFile(), ...options } : options;
  const open = (device: string) => {
    const isCpu = device.startsWith('cpu');
    // It starts with the first question, which nothing in this thread can interrupt.
    if (!isCpu) addon.devices(driverStart(runTimeout));
    const opening = hangs(`${device}=open`) ? new Promise<never>(() => {}) : addon.open({ ...given, device });
    return openedInTime(device, 1000 * (runTimeout ?? (isCpu ? 0 : GPU_SECONDS)), opening);
  };
  if (options.device !== 'auto') return open(options.device);
  try {
    return await open('cuda:0');
  } catch (error) {
    say(`computing on the CPU: ${error instanceof Error ? error.message : error}`);
    return open('cpu');
  }
}

/** Threads of the CPU. */
function coresOf(devices: readonly DeviceInfo[]): number {
  return devices.find(({ id }) => id === 'cpu')?.threads ?? 1;
}

/** As many for each as for any other, or one more; at least one. */
function share(threads: number, workers: number, index: number): number {
  return Math.max(1, Math.floor(threads / workers) + (index < threads % workers ? 1 : 0));
}

/** `gpu-choices.tsv` in the user's folder of caches; none where there can be no such folder. */
async function choicesFile(): Promise<string | undefined> {
  const dir = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'latent-edge');
  try {
    await mkdir(dir, { recursive: true });
    return join(dir, 'gpu-choices.tsv');
  } catch {
    return undefined;
  }
}
