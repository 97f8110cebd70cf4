import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Loading, loadingOf, weightBytes } from '../../sidecar/engine/admission/loading.ts';
import { Workers } from '../../sidecar/engine/devices/workers.ts';
import { Pool } from '../../sidecar/engine/pool.ts';
import { Programs } from '../../sidecar/engine/programs.ts';
import type { Plan } from '../../sidecar/graph/plan.ts';
import type { NativeDevice, NativeProgram, NativeWeights } from '../../sidecar/native.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const MB = 1e6;

/** Of one weight of so many megabytes, which two of its ops use. */
function planOf(megabytes: number): Plan {
  const weight = { names: ['w'], shape: [megabytes * 1000, 250] };
  const op = { op: 'linear', scope: '', inputs: {}, weights: { weight }, attrs: {}, output: {} };
  return { version: 1, name: 'x', arenaBytes: 0, inputs: [], outputs: [], ops: [op, op] } as unknown as Plan;
}

/** A device that loads a megabyte in so many milliseconds, when it first compiles a plan. */
function device(msPerMegabyte: number): NativeDevice {
  let isPacked = false;
  return {
    info: { threads: 1 },
    memory: () => ({ weights: 0, arenas: 0, tensors: 0, scratch: 0 }),
    loadWeights: async () => ({}) as NativeWeights,
    async compile(plan: Plan) {
      const ms = isPacked ? 1 : (msPerMegabyte * weightBytes(plan)) / MB;
      isPacked = true;
      await new Promise((resolve) => setTimeout(resolve, ms));
      return { run: async () => ({}), dispose: async () => {} } as NativeProgram;
    },
  } as unknown as NativeDevice;
}

async function run(programs: Programs, key: string, megabytes: number): Promise<void> {
  const result = programs.run(key, () => planOf(megabytes), {});
  await vi.runAllTimersAsync();
  await result;
}

it('is taken to be a gigabyte a second, until something has been loaded', () => {
  expect(new Loading().ms(500 * MB)).toBe(500);
});

it('counts each weight of a plan once, as float32', () => {
  expect(weightBytes(planOf(3))).toBe(3 * MB);
});

it('is measured as a component is first used, and not after', async () => {
  const slow = device(5);
  const pool = new Pool<NativeProgram>({ count: 9, cost: 9 });
  const programs = await Programs.load(slow, [], { name: 'unet', dir: '' }, pool);
  await run(programs, 'first', 10_000);
  const measured = loadingOf(slow).ms(1000 * MB);
  expect(measured).toBeGreaterThan(4900);
  expect(measured).toBeLessThan(5000);
  await run(programs, 'second', 10_000);
  await run(await programs.adapted([], [], pool), 'third', 10_000);
  expect(loadingOf(slow).ms(1000 * MB)).toBe(measured);
  // Of another device nothing is known.
  expect(loadingOf(device(5)).ms(1000 * MB)).toBe(1000);
});

it('the last load counts most, and a small one little', () => {
  const loading = new Loading();
  for (let i = 0; i < 20; i++) loading.add(1000 * MB, 1000);
  loading.add(1 * MB, 1000);
  expect(loading.ms(1000 * MB)).toBeLessThan(1500);
  for (let i = 0; i < 5; i++) loading.add(1000 * MB, 4000);
  expect(loading.ms(1000 * MB)).toBeGreaterThan(3000);
});

it('small ones, however many, say little of a large one', () => {
  const loading = new Loading();
  loading.add(4000 * MB, 4000);
  for (let i = 0; i < 100; i++) loading.add(1 * MB, 20);
  expect(loading.ms(4000 * MB)).toBeCloseTo(4000);
  // Three of 50 MB, at a twentieth of the speed, count as what they are: less than a twentieth of the bytes.
  for (let i = 0; i < 3; i++) loading.add(50 * MB, 1000);
  expect(loading.ms(4000 * MB)).toBeLessThan(8000);
});

it('is what a request waits for where its model is not', async () => {
  const slow = device(5);
  const [worker] = new Workers([{ id: '0', device: slow, memoryBytes: 4e9 }], { concurrency: 1 }).all;
  const demand = {
    weights: [{ name: 'a', bytes: 100 * MB }],
    memory: { weights: 100 * MB, names: ['a'], program: { what: '', bytes: 0 } },
    workload: { passes: [], steps: 0, flops: 0 },
  };
  expect(worker!.waitMs(demand)).toBeCloseTo(100);
  loadingOf(slow).add(100_000 * MB, 500_000);
  expect(worker!.waitMs(demand)).toBeCloseTo(500, -1);
});
