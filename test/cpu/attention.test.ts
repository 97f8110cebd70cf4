import { afterAll, beforeAll, expect, test } from 'vitest';
import { runOp } from '../../sidecar/doctor/bound.ts';
import { runnable } from '../../sidecar/doctor/cases.ts';
import { type NativeDevice, native } from '../../sidecar/native.ts';
import { relativeL2 } from '../support/compare.ts';

let device: NativeDevice;
let reference: NativeDevice;
beforeAll(async () => {
  [device, reference] = await Promise.all([
    native().open({ device: 'cpu' }),
    native().open({ device: 'cpu-reference' }),
  ]);
});
afterAll(() => Promise.all([device, reference].map((each) => each.dispose())));

const [tokens, size] = [40, 8];
const { plan, draw } = runnable('attention', {
  tensors: { q: [1, tokens, 3 * size] },
  attrs: { heads: 1, head_size: size, causal: false },
});

/** Memory that nothing was written to, where runs are checked: NaN, and the largest of them. */
const UNWRITTEN = 0xffff_ffff;

test.each([
  ['a query', 0, (token: number) => token === 3],
  ['a key', size, () => true],
  ['a value', 2 * size, () => true],
])('%s that is NaN makes NaN of what it has a part in', async (_, channel, isLost) => {
  const values = draw();
  const q = values.inputs.q as Float32Array;
  new Uint32Array(q.buffer, q.byteOffset, q.length)[3 * 3 * size + channel] = UNWRITTEN;
  const [y] = await runOp(device, plan, values);
  for (let token = 0; token < tokens; token++)
    expect(Number.isNaN(y![token * size]), `token ${token}`).toBe(isLost(token));
});

test('scores hundreds apart', async () => {
  const values = draw();
  const q = values.inputs.q as Float32Array;
  for (let i = 0; i < q.length; i++) if (i % (3 * size) < 2 * size) q[i]! *= 12;
  const [actual, expected] = [await runOp(device, plan, values), await runOp(reference, plan, values)].map(
    ([y]) => y!,
  );
  expect(relativeL2(actual!, expected!)).toBeLessThan(1e-5);
});

test('maxima that rise from one block of keys to the next', async () => {
  const wide = runnable('attention', {
    tensors: { q: [1, 700, 3 * 80] },
    attrs: { heads: 1, head_size: 80, causal: false, scale: 1 },
  });
  const values = wide.draw();
  const q = values.inputs.q as Float32Array;
  // Later keys are longer: scores of up to about 30, then 60, then 90.
  for (let i = 0; i < q.length; i++)
    if (i % 240 >= 80 && i % 240 < 160) q[i]! *= 1 + Math.floor(i / 240 / 300);
  const [actual, expected] = [
    await runOp(device, wide.plan, values),
    await runOp(reference, wide.plan, values),
  ].map(([y]) => y!);
  expect(relativeL2(actual!, expected!)).toBeLessThan(1e-5);
});

// 55.4 is where scores are no longer known to be small enough to do without a maximum (80·ln 2).
test.each([-54, -20, 54, 56, 90])('scores about %d, all of one query alike', async (level) => {
  const wide = runnable('attention', {
    tensors: { q: [1, 700, 3 * 16] },
    attrs: { heads: 1, head_size: 16, causal: false, scale: 1 },
  });
  const values = wide.draw();
  const q = values.inputs.q as Float32Array;
  // The first channel alone gives the level; the others give scores of some hundredths.
  for (let token = 0; token < 700; token++) {
    const at = token * 48;
    for (let i = 1; i < 32; i++) q[at + i]! *= 0.1;
    q[at] = Math.sqrt(Math.abs(level));
    q[at + 16] = level / q[at]!;
    for (let i = 32; i < 48; i++) q[at + i]! *= 1e6;
  }
  const [actual, expected] = [
    await runOp(device, wide.plan, values),
    await runOp(reference, wide.plan, values),
  ].map(([y]) => y!);
  // What float32 has of a score of that size.
  expect(relativeL2(actual!, expected!)).toBeLessThan(2e-7 * Math.abs(level));
});
