import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { opCases, type RunnableCase } from '../../sidecar/doctor/cases.ts';
import type { Plan } from '../../sidecar/graph/plan.ts';
import { type NativeDevice, native } from '../../sidecar/native.ts';
import { relativeL2 } from '../support/compare.ts';

// Every case of the op table: the fast kernels against the plain ones, on poisoned arenas.

const THREADS = [1, 2, 5];

/**
 * Where scores are far apart float32 has fewer digits left for what the exponential makes of them; Winograd's F(4x4, 3x3)
 * has a rounding of 1e-6.
 */
const toleranceOf = ({ ops }: Plan) =>
  ops.some(({ op, attrs }) => op === 'attention' && attrs.scale)
    ? 3e-6
    : ops.some(({ weights, attrs }) => attrs.stride === 1 && weights.weight?.shape.slice(2).join() === '3,3')
      ? 2e-6
      : 1e-6;

let reference: NativeDevice;
let devices: NativeDevice[];
beforeAll(async () => {
  const open = (device: string, threads: number) => native().open({ device, threads, poison: true });
  reference = await open('cpu-reference', 1);
  devices = await Promise.all(THREADS.map((threads) => open('cpu', threads)));
});
afterAll(() => Promise.all([reference, ...devices].map((device) => device.dispose())));

type Values = ReturnType<RunnableCase['draw']>;

async function run(device: NativeDevice, plan: Plan, { weights, inputs }: Values): Promise<Float32Array> {
  const loaded = await device.loadWeights(weights);
  const program = await device.compile(plan, loaded);
  const { y } = await program.run(inputs);
  await program.dispose();
  await loaded.dispose();
  return y as Float32Array;
}

describe.each(opCases())('$op', ({ cases }) => {
  test.each(cases)('$title', async ({ plan, draw }) => {
    const values = draw();
    const expected = await run(reference, plan, values);
    expect(expected.every(Number.isFinite)).toBe(true);
    for (const [i, device] of devices.entries()) {
      const actual = await run(device, plan, values);
      expect(relativeL2(actual, expected), `${THREADS[i]} threads`).toBeLessThanOrEqual(toleranceOf(plan));
    }
  });
});
