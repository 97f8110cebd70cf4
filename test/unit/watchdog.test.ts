import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { hasHung, watched } from '../../sidecar/engine/devices/watchdog.ts';
import type { Plan } from '../../sidecar/graph/plan.ts';
import type { NativeDevice, NativeProgram, NativeTensor, NativeWeights } from '../../sidecar/native.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const LEAST = 1000;

const freed: string[] = [];

interface Times {
  runMs?: number[];
  loadMs?: number;
  compileMs?: number;
  disposeMs?: number;
  peakMs?: number;
}

const NEVER = 2 ** 31 - 1;

/** A device whose calls end after so many milliseconds. */
function device({ runMs = [5], loadMs = 0, compileMs = 0, disposeMs = 0, peakMs = 1 }: Times) {
  let last: Promise<unknown> = Promise.resolve();
  const after = <T>(ms: number, value: T) => {
    const result = last.then(() => new Promise<T>((resolve) => setTimeout(() => resolve(value), ms)));
    last = result;
    return result;
  };
  const times = runMs.values();
  const program = (): NativeProgram => ({
    run: () => after(times.next().value ?? 5, { out: new Float32Array(1), kept: tensor() }),
    dispose: () => after(disposeMs, undefined),
  });
  const tensor = (): NativeTensor => ({ shape: [1], bytes: 4, dispose: () => void freed.push('a tensor') });
  const native = {
    info: { id: 'gpu', threads: 0 },
    loadWeights: () => after(loadMs, { dispose: () => after(0, undefined) } as NativeWeights),
    compile: () => after(compileMs, program()),
    dispose: () => after(0, undefined),
  } as unknown as NativeDevice;
  return watched(native, { leastMs: LEAST, peakMs: () => peakMs });
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
  const gpu = device({ runMs: [5, NEVER] });
  const [weights, program] = await loaded(gpu);
  expect(hasHung()).toBe(false);
  expect(await outcome(program.run({}))).toHaveProperty('out');
  const hung = program.run({});
  const behind = program.run({});
  const message = 'ERR_DEVICE_LOST: a run of unet has not ended within 1 s: it hangs';
  expect(
    await Promise.all([hung, behind, gpu.loadWeights([])].map((each) => outcome<unknown>(each))),
  ).toEqual([...[message, message, message]]);
  expect(await outcome(program.run({}))).toBe(message);
  // The process is to end by force.
  expect(hasHung()).toBe(true);
  // Nothing is waited for.
  await Promise.all([program.dispose(), weights.dispose(), gpu.dispose()]);
});

it('runs wait for others, and for what is loaded, as long as that takes', async () => {
  const gpu = device({ runMs: Array(5).fill(0.9 * LEAST), loadMs: 9 * LEAST });
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

it('a program may take a multiple of what its operations take at least', async () => {
  const [slow, hung] = [
    device({ runMs: [90 * LEAST], peakMs: LEAST }),
    device({ runMs: [NEVER], peakMs: LEAST }),
  ];
  expect(await outcome((await loaded(slow))[1].run({}))).toHaveProperty('out');
  expect(await outcome((await loaded(hung))[1].run({}))).toMatch('has not ended within 100 s');
});

it.each<[string, Times]>([
  ['loading weights', { loadMs: NEVER }],
  ['compiling unet', { compileMs: NEVER }],
])('%s that does not end is found out too, later', async (what, times) => {
  const gpu = device(times);
  const made = gpu.loadWeights([]).then((weights) => gpu.compile(plan, weights));
  expect(await outcome(made)).toBe(`ERR_DEVICE_LOST: ${what} has not ended within 10 s: it hangs`);
});

it('so is freeing memory, for what comes behind it; nobody waits for it', async () => {
  const gpu = device({ disposeMs: NEVER });
  const [, program] = await loaded(gpu);
  const [freeing, behind] = [program.dispose(), gpu.loadWeights([])];
  expect(await outcome(behind)).toMatch('ERR_DEVICE_LOST: freeing memory has not ended within 10 s');
  await freeing;
});

it('what was of a device that hangs is not freed, which would wait for it', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const refs: WeakRef<object>[] = [];
  const lose = async () => {
    const gpu = device({ runMs: [5, NEVER] });
    const [weights, program] = await loaded(gpu);
    const outputs = (await outcome(program.run({}))) as Record<string, NativeTensor>;
    refs.push(...[weights, program, outputs.kept!].map((each) => new WeakRef(each)));
    expect(await outcome(program.run({}))).toMatch('it hangs');
    freed.length = 0;
    outputs.kept!.dispose();
    expect(freed).toEqual([]);
  };
  await lose();
  vi.clearAllTimers();
  vi.useRealTimers();
  // References that a job has looked at are held until its end.
  await new Promise(setImmediate);
  collect();
  expect(refs.map((ref) => ref.deref() !== undefined)).toEqual([true, true, true]);
});

it('a machine that stood still is not taken for a run that hangs', async () => {
  const due: { at: number; act: () => void }[] = [];
  let now = 0;
  vi.stubGlobal('setTimeout', (act: () => void, ms: number) => due.push({ at: now + ms, act }) && due.at(-1));
  const forget = (timer: (typeof due)[0]) => due.includes(timer) && due.splice(due.indexOf(timer), 1);
  vi.stubGlobal('clearTimeout', forget);
  /** What is due comes as one, whenever it was due; of what that begins nothing does. */
  const jump = async (ms: number) => {
    now += ms;
    const ready = due.filter(({ at }) => at <= now).sort((a, b) => a.at - b.at);
    for (const timer of ready) {
      if (forget(timer)) timer.act();
    }
    for (let i = 0; i < 20; i++) await Promise.resolve();
  };
  let endRun = () => {};
  const native = {
    info: { id: 'gpu' },
    compile: async () => ({ run: () => new Promise<object>((resolve) => (endRun = () => resolve({}))) }),
  } as unknown as NativeDevice;
  const gpu = watched(native, { leastMs: LEAST, peakMs: () => 1 });
  const program = await gpu.compile(plan, {} as NativeWeights);
  const run = program.run({}).catch((error: Error) => error.message);
  await jump(0.2 * LEAST);
  await jump(HOUR);
  await jump(0.2 * LEAST);
  endRun();
  expect(await run).toEqual({});
  const hung = program.run({}).catch((error: Error) => error.message);
  for (let i = 0; i < 11; i++) await jump(0.1 * LEAST);
  expect(await hung).toMatch('it hangs');
  vi.unstubAllGlobals();
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
