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
