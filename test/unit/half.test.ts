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

test('float16: subnormals', () => {
  expect(round('f16', 3 * 2 ** -25, 5 * 2 ** -25, 2 ** -14 - 2 ** -26)).toEqual([
    ...[2 ** -23, 2 ** -23, 2 ** -14],
  ]);
  // Of float32.
  expect(round('f16', 2 ** -149, -(2 ** -127))).toEqual([0, -0]);
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
  // One that is kept, and a tie between it and the next.
  expect(round('bf16', 2 ** -133, 3 * 2 ** -134)).toEqual([2 ** -133, 2 ** -132]);
});

const F16 = {
  infinity: 0x7c00,
  numberOf: (bits: number) => {
    const [exponent, fraction] = [bits >> 10, bits & 0x3ff];
    return exponent === 0 ? fraction * 2 ** -24 : (0x400 + fraction) * 2 ** (exponent - 25);
  },
};
const BF16 = {
  infinity: 0x7f80,
  numberOf: (bits: number) => {
    const [exponent, fraction] = [bits >> 7, bits & 0x7f];
    return exponent === 0 ? fraction * 2 ** -133 : (0x80 + fraction) * 2 ** (exponent - 134);
  },
};

test.each([
  ['f16', F16],
  ['bf16', BF16],
] as const)(
  '%s: every number, what lies midway between two, and beside that',
  (precision, { infinity, numberOf }) => {
    const given: number[] = [];
    const expected: number[] = [];
    const goesTo = (value: number, bits: number) => {
      const size = bits === infinity ? Infinity : numberOf(bits);
      given.push(value, -value);
      expected.push(size, -size);
    };
    for (let bits = 0; bits < infinity; bits++) {
      const value = numberOf(bits);
      // Beyond the largest, where one more would be: half a step is the same.
      const midway = value + (numberOf(bits + 1) - value) / 2;
      goesTo(value, bits);
      goesTo(beside(midway, -1), bits);
      goesTo(midway, bits % 2 === 0 ? bits : bits + 1);
      goesTo(beside(midway, 1), bits + 1);
    }
    const got = rounded(Float32Array.from(given), precision);
    const wrong = expected.findIndex((value, i) => !Object.is(got[i], value));
    expect(wrong < 0 ? undefined : { given: given[wrong], got: got[wrong] }).toBeUndefined();
  },
);

/** The float32 next to a positive one. */
function beside(value: number, way: 1 | -1): number {
  const one = Float32Array.of(value);
  new Int32Array(one.buffer)[0]! += way;
  return one[0]!;
}

test('float32 stays as it is', () => {
  const values = Float32Array.of(0.1, -0, 1e-40);
  expect(rounded(values, 'f32')).toBe(values);
});
