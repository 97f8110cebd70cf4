import { faultsOf } from '../engine/devices/fault.ts';
import { driverStart, openDevice, watchedFor } from '../engine/devices/open.ts';
import { planFlops } from '../graph/planner.ts';
import { type DeviceInfo, type NativeDevice, native, nativeCode, type Precision } from '../native.ts';
import { excess, naive, runOp } from './bound.ts';
import { opCases, type RunnableCase } from './cases.ts';

/** One thing that was looked at. */
export interface Finding {
  name: string;
  ok: boolean;
  detail: string;
  /** What to do about it. */
  advice?: string;
}

export interface CheckUpOptions {
  /** This device alone; default: the CPU and every GPU. */
  device?: string;
  dtype?: Precision;
  /** Seconds after which a run is taken to hang; default: as openDevices has it. */
  runTimeout?: number;
}

/** Cases that the CPU's plain loops compute in well under a second. */
const QUICK = 2e8;

const REBUILD = 'put nvcc of a CUDA toolkit on the PATH and run npm run setup -- --gpu';
const LOST =
  'what nvidia-smi and the log of the kernel (dmesg, "Xid") say of it; reset it (nvidia-smi --gpu-reset) or start the machine again';
const REPORT = 'use --device cpu, and report this with the output of nvidia-smi';

/** Looks at the addon, the driver, the devices, and their kernels against plain loops on the CPU. */
export async function* checkUp({ device, dtype, runTimeout }: CheckUpOptions = {}): AsyncGenerator<Finding> {
  const devices = list(runTimeout);
  if (typeof devices === 'string') {
    yield { name: 'GPU driver', ok: false, detail: devices, advice: LOST };
    // Which devices there are, nobody says now; but a CPU is there in any case.
    const id = device ?? 'cpu';
    if (id.startsWith('cpu')) yield* checkDevice(id, { dtype, runTimeout });
    return;
  }
  const named = devices.filter(({ id }) => id === device);
  const chosen = device ? named : devices.filter(({ id }) => id !== 'cpu-reference');
  yield { name: 'addon', ok: true, detail: `loaded; devices: ${devices.map(({ id }) => id).join(', ')}` };
  if (device ? named.length === 0 : !devices.some(({ threads }) => threads === 0)) {
    const { detail, advice } = await whyNot(device ?? 'cuda:0');
    // Nobody asked for one: to have none is no fault.
    const reason = detail.replace(/^Unknown device .+?(; |$)/, ': ');
    yield device === undefined
      ? {
          name: 'GPU',
          ok: true,
          detail: `none, so the CPU computes${reason}`,
          advice: `for a GPU: ${advice}`,
        }
      : { name: 'GPU', ok: false, detail, advice };
  }
  for (const { id } of chosen) yield* checkDevice(id, { dtype, runTimeout });
}

async function* checkDevice(id: string, options: CheckUpOptions): AsyncGenerator<Finding> {
  const opened = await open(id, options);
  if (typeof opened === 'string') {
    yield { name: id, ok: false, detail: opened, advice: REPORT };
    return;
  }
  const { name, arch, driver, memoryBytes, dtype } = opened.info;
  const memory = `${(memoryBytes / 2 ** 30).toFixed(1)} GiB`;
  const detail = [name, arch, driver && `driver for ${driver}`, memory, `computes in ${dtype}`];
  yield { name: id, ok: true, detail: detail.filter(Boolean).join(', ') };
  try {
    yield await kernels(opened);
  } finally {
    await opened.dispose();
  }
}

/** The devices there are; why they cannot be told where the driver of GPUs hangs. */
function list(runTimeout?: number): DeviceInfo[] | string {
  try {
    return native().devices(driverStart(runTimeout));
  } catch (error) {
    if (nativeCode(error) !== 'ERR_DEVICE_LOST') throw error;
    return (error as Error).message;
  }
}

async function whyNot(id: string): Promise<{ detail: string; advice: string }> {
  const detail = await open(id);
  if (typeof detail !== 'string') throw new Error(`Expected no device ${id} but it opened`);
  const advice = detail.includes('no CUDA kernels')
    ? REBUILD
    : detail.includes('driver')
      ? 'install or update the NVIDIA driver, and see that nvidia-smi lists the GPU (in a container: --gpus all)'
      : 'choose one of the devices above';
  return { detail, advice };
}

async function open(
  device: string,
  { dtype, runTimeout }: CheckUpOptions = {},
): Promise<NativeDevice | string> {
  try {
    const opened = await openDevice({ device, dtype, runTimeout, poison: true, ...faultsOf(device) });
    return watchedFor(opened, runTimeout);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Every op's quick cases: the first run, and one that is replayed. */
async function kernels(device: NativeDevice): Promise<Finding> {
  const reference = await native().open({ device: 'cpu-reference', threads: 1 });
  const name = `${device.info.id} kernels`;
  const wrong: string[] = [];
  let count = 0;
  try {
    for (const { op, cases } of opCases())
      for (const one of cases.filter(({ plan }) => planFlops(plan) <= QUICK)) {
        const trouble = await compare(device, reference, one);
        if (trouble) wrong.push(`${op} ${one.title}: ${trouble}`);
        count++;
      }
  } catch (error) {
    if (nativeCode(error) !== 'ERR_DEVICE_LOST') throw error;
    return { name, ok: false, detail: `lost: ${(error as Error).message}`, advice: LOST };
  } finally {
    await reference.dispose();
  }
  return wrong.length === 0
    ? { name, ok: true, detail: `${count} cases of all ops agree with the reference` }
    : { name, ok: false, detail: `${wrong.length} of ${count} cases fail: ${wrong[0]}`, advice: REPORT };
}

async function compare(device: NativeDevice, reference: NativeDevice, { plan, draw }: RunnableCase) {
  const values = draw();
  const { dtype } = device.info;
  const [exact] = await runOp(reference, plan, values);
  try {
    const [first, , third] = await runOp(device, plan, values, 3);
    if (first!.some((v, i) => v !== third![i])) return 'runs differ from each other';
    const away = excess(first!, exact!, await naive(reference, plan, values, dtype), dtype);
    return away <= 1 ? undefined : `the error is ${away.toFixed(1)} times its bound`;
  } catch (error) {
    if (nativeCode(error) === 'ERR_DEVICE_LOST') throw error;
    return error instanceof Error ? error.message : String(error);
  }
}
