import { expect, test } from 'vitest';
import { rounded } from '../../sidecar/doctor/half.ts';

const round = (precision: 'f16' | 'bf16', ...values: number[]) => [
  ...rounded(Float32Array.from(values), precision),
];

test('float16: to nearest, ties to even, subnormal below 2^-14, infinite from 65520', () => {
  expect(round('f16', 1, 1 + 2 ** -11, 1 + 3 * 2 ** -11, -0.1)).toEqual([
    1,
    1,
    1 + 2 ** -9,
    -0.0999755859375,
  ]);
  expect(round('f16', 2 ** -24, 2 ** -25, 3 * 2 ** -26, -(2 ** -14))).toEqual([
    2 ** -24,
    0,
    2 ** -24,
    -(2 ** -14),
  ]);
  expect(round('f16', 65504, 65519, 65520, -1e6)).toEqual([65504, 65504, Infinity, -Infinity]);
  expect(round('f16', -0, -(2 ** -26), -(3 * 2 ** -26), NaN, -Infinity)).toEqual([
    ...[-0, -0, -(2 ** -24), NaN, -Infinity],
  ]);
});

test('bfloat16: to nearest, ties to even', () => {
  expect(round('bf16', 1 + 2 ** -8, 1 + 3 * 2 ** -8, 999, 1e38)).toEqual([
    1,
    1 + 2 ** -6,
    1000,
    2 ** 126 * 1.171875,
  ]);
  expect(round('bf16', -0, 3.4e38, -Infinity, NaN, 2 ** -140)).toEqual([
    ...[-0, Infinity, -Infinity, NaN, 0],
  ]);
});

test('float32 stays as it is', () => {
  const values = Float32Array.of(0.1, -0, 1e-40);
  expect(rounded(values, 'f32')).toBe(values);
});
