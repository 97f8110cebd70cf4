import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type NativeDevice, native, type Precision } from '../../sidecar/native.ts';
import { linearChain, scaling } from '../support/plans.ts';

// The CPU computing as a device of half precision would: each op's output rounded.

const dtypes = ['f16', 'bf16'] as const;
const devices = new Map<Precision, NativeDevice>();
beforeAll(async () => {
  for (const dtype of ['f32', ...dtypes] as const)
    devices.set(dtype, await native().open({ device: 'cpu', threads: 2, dtype, poison: true }));
});
afterAll(() => Promise.all([...devices.values()].map((device) => device.dispose())));

/** The values as an op leaves them that changes nothing. */
async function rounded(values: number[], opened: Precision, dtype?: Precision): Promise<Float32Array> {
  const device = devices.get(opened)!;
  const weights = await device.loadWeights(scaling(1, 1, 1, 0));
  const program = await device.compile(linearChain(values.length, 1), weights, { dtype });
  return (await program.run({ x: Float32Array.from(values) })).y as Float32Array;
}

const { POSITIVE_INFINITY: inf } = Number;

describe('rounding', () => {
  // Halfway between two of them, the one whose last bit is 0 (IEEE 754, 4.3.1).
  test.each([
    ['f16', 1 + 2 ** -11, 1],
    ['f16', 1 + 3 * 2 ** -11, 1 + 2 ** -9],
    ['f16', 1 + 2 ** -11 + 2 ** -23, 1 + 2 ** -10],
    ['f16', 65_519, 65_504],
    ['f16', 65_520, inf],
    ['f16', -1e30, -inf],
    ['f16', 2 ** -14, 2 ** -14],
    ['f16', 2 ** -14 - 2 ** -25, 2 ** -14],
    ['f16', 3 * 2 ** -25, 2 ** -23],
    ['f16', 2 ** -25, 0],
    ['bf16', 1 + 2 ** -8, 1],
    ['bf16', 1 + 3 * 2 ** -8, 1 + 2 ** -6],
    ['bf16', -65_520, -65_536],
    ['bf16', 999, 1000],
    ['bf16', 3.4e38, inf],
    ['bf16', 2 ** -130, 2 ** -130],
  ] as const)('to %s: %d → %d', async (dtype, value, expected) => {
    expect([...(await rounded([value], dtype))]).toEqual([expected]);
  });

  test.each(dtypes)('%s keeps NaN and infinities', async (dtype) => {
    expect([...(await rounded([Number.NaN, inf, -inf], dtype))]).toEqual([Number.NaN, inf, -inf]);
  });

  test.each([
    ['f16', 10],
    ['bf16', 7],
  ] as const)('to %s: the nearest with %d bits after the point, block after block', async (dtype, bits) => {
    const values = Float32Array.from({ length: 70_000 }, (_, i) => 1 + ((i * 7919) % 70_000) / 70_000);
    const step = 2 ** -bits;
    const even = (n: number) => (n % 1 === 0.5 ? 2 * Math.round(n / 2) : Math.round(n));
    const expected = values.map((value) => even(value / step) * step);
    const actual = await rounded([...values], dtype);
    expect(actual.findIndex((value, i) => value !== expected[i])).toBe(-1);
  });
});

test('each op is rounded, not the last alone', async () => {
  const device = devices.get('f16')!;
  const weights = await device.loadWeights(scaling(1, 2, 300, 0));
  const program = await device.compile(linearChain(1, 1, 2), weights);
  // 300·300 = 90000 overflows, 300·1.001 is rounded to a quarter.
  expect(await program.run({ x: Float32Array.of(1.001) }, { until: 0 })).toEqual({
    until: Float32Array.of(300.25),
  });
  expect(await program.run({ x: Float32Array.of(1.001) })).toEqual({ y: Float32Array.of(inf) });
});

describe('what to compute in', () => {
  test('is the device’s own, or the program’s', async () => {
    const value = 1 + 2 ** -20;
    expect([...(await rounded([value], 'f16', 'f32'))]).toEqual([value]);
    expect([...(await rounded([value], 'f32', 'f16'))]).toEqual([1]);
    expect([...(await rounded([value], 'f32'))]).toEqual([value]);
  });

  test('is said of a device', () => {
    expect([...devices].map(([, { info }]) => info.dtype)).toEqual(['f32', 'f16', 'bf16']);
    expect(native().devices()[0]).toMatchObject({ id: 'cpu', dtype: 'f32' });
  });

  test('has to be known', async () => {
    const open = native().open({ device: 'cpu', dtype: 'f64' as never });
    await expect(open).rejects.toThrow('Expected f32, f16 or bf16 for options.dtype but received');
    const device = devices.get('f32')!;
    const weights = await device.loadWeights(scaling(1));
    await expect(device.compile(linearChain(1, 1), weights, { dtype: 16 as never })).rejects.toThrow(
      'options.dtype',
    );
  });
});
