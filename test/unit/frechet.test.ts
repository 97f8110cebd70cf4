import { expect, test } from 'vitest';
import { frechetDistance, gaussianOf } from '../../bench/frechet.ts';
import { fixtureCase } from '../support/fixtures.ts';

const { params, tensors } = fixtureCase('frechet');

function vectors(i: number): Float32Array[] {
  const { shape, data } = tensors[`in.${i}`]!;
  const [n, D] = shape as [number, number];
  return Array.from({ length: n }, (_, row) => Float32Array.from(data.slice(row * D, (row + 1) * D)));
}

test.each(params.pairs as [number, number, number][])('sets %i and %i: scipy says %f', (a, b, expected) => {
  const [first, second] = [gaussianOf(vectors(a)), gaussianOf(vectors(b))];
  expect(Math.abs(frechetDistance(first, second) - expected)).toBeLessThanOrEqual(
    1e-6 * Math.max(1, expected),
  );
  expect(frechetDistance(second, first)).toBeCloseTo(frechetDistance(first, second), 5);
});

test('one picture has no spread', () => {
  expect(() => gaussianOf([[1, 2]])).toThrow('Expected two pictures or more');
});
