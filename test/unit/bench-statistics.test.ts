import fc from 'fast-check';
import { expect, test } from 'vitest';
import { median, percentile } from '../../bench/statistics.ts';

test('95 % of the values are at most that one, of few values all', () => {
  expect(percentile([3, 1, 2], 0.95)).toBe(3);
  expect(percentile([100, 34.8], 0.95)).toBe(100);
  expect(percentile([7], 0.95)).toBe(7);
  const twenty = Array.from({ length: 20 }, (_, i) => i + 1);
  expect(percentile(twenty, 0.95)).toBe(19);
  expect(percentile(twenty, 0.5)).toBe(10);
});

test('of no values both are NaN', () => {
  expect(percentile([], 0.95)).toBeNaN();
  expect(median([])).toBeNaN();
});

test('it is never below the median', () => {
  fc.assert(
    fc.property(fc.array(fc.float({ noNaN: true, noDefaultInfinity: true }), { minLength: 1 }), (values) => {
      expect(percentile(values, 0.95)).toBeGreaterThanOrEqual(median(values));
    }),
  );
});
