import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { watched } from '../../sidecar/engine/devices/watchdog.ts';
import type { Plan } from '../../sidecar/graph/plan.ts';
import type { NativeDevice, NativeProgram, NativeWeights } from '../../sidecar/native.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const LEAST = 1000;

/** A device whose calls end after so many milliseconds. */
function device({ runMs = [5], loadMs = 0 }: { runMs?: number[]; loadMs?: number }) {
  let last: Promise<unknown> = Promise.resolve();
  const after = <T>(ms: number, value: T) => {
    const result = last.then(() => new Promise<T>((resolve) => setTimeout(() => resolve(value), ms)));
    last = result;
    return result;
  };
  const times = runMs.values();
  const program = (): NativeProgram => ({
    run: () => after(times.next().value ?? 5, { out: new Float32Array(1) }),
    dispose: () => after(0, undefined),
  });
  const native = {
    info: { id: 'gpu', threads: 0 },
    loadWeights: () => after(loadMs, { dispose: () => after(0, undefined) } as NativeWeights),
    compile: () => after(0, program()),
    dispose: () => after(0, undefined),
  } as unknown as NativeDevice;
  return watched(native, { leastMs: LEAST, peakMs: () => 1 });
}

const plan = { name: 'unet' } as Plan;
const HOUR = 3_600_000;

/** What a promise comes to, as time goes on. */
async function outcome<T>(promise: Promise<T>): Promise<T | string> {
  const result = promise.catch((error: Error & { code?: string }) => `${error.code}: ${error.message}`);
  await vi.advanceTimersByTimeAsync(HOUR);
  return result;
}

async function loaded(of: NativeDevice) {
  const made = of
    .loadWeights([])
    .then(async (weights) => [weights, await of.compile(plan, weights)] as const);
  await vi.advanceTimersByTimeAsync(HOUR);
  return made;
}

it('a run that does not end is the end of the device, for all that waits and comes', async () => {
  const gpu = device({ runMs: [5, 2 ** 31 - 1] });
  const [weights, program] = await loaded(gpu);
  expect(await outcome(program.run({}))).toHaveProperty('out');
  const hung = program.run({});
  const behind = program.run({});
  const message = 'ERR_DEVICE_LOST: a run of unet has not ended within 1 s: it hangs';
  expect(
    await Promise.all([hung, behind, gpu.loadWeights([])].map((each) => outcome<unknown>(each))),
  ).toEqual([...[message, message, message]]);
  expect(await outcome(program.run({}))).toBe(message);
  // Nothing is waited for.
  await Promise.all([program.dispose(), weights.dispose(), gpu.dispose()]);
});

it('runs wait for others, and for what is loaded, as long as that takes', async () => {
  const gpu = device({ runMs: Array(5).fill(0.9 * LEAST), loadMs: 50 * LEAST });
  const [, program] = await loaded(gpu);
  const late = gpu.loadWeights([]);
  const runs = [1, 2, 3, 4].map(() => program.run({}));
  for (const run of runs) expect(await outcome(run)).toHaveProperty('out');
  await late;
});

it('a program may take a multiple of what it has taken', async () => {
  const gpu = device({ runMs: [0.5 * LEAST, 20 * LEAST] });
  const [, program] = await loaded(gpu);
  expect(await outcome(program.run({}))).toHaveProperty('out');
  expect(await outcome(program.run({}))).toHaveProperty('out');
});

it('a machine that stood still is not taken for a run that hangs', async () => {
  const gpu = device({ runMs: [0.5 * LEAST] });
  const [, program] = await loaded(gpu);
  const run = program.run({});
  await vi.advanceTimersByTimeAsync(0.2 * LEAST);
  // All that was due comes at once, in no certain order, when it goes on.
  vi.setSystemTime(Date.now() + HOUR);
  expect(await outcome(run)).toHaveProperty('out');
});

it('errors of arguments are those of the call', async () => {
  const native = device({});
  const [, program] = await loaded(native);
  expect(await outcome(program.run({}))).toHaveProperty('out');
  const broken = watched(
    { info: { id: 'gpu' }, choices: () => Promise.reject(new Error('no')) } as unknown as NativeDevice,
    { leastMs: LEAST, peakMs: () => 1 },
  );
  expect(await outcome(broken.choices())).toBe('undefined: no');
});
