import { expect, it } from 'vitest';
import { allFinite } from '../../sidecar/engine/finite.ts';

it('finds NaN and infinity wherever they are', () => {
  const values = new Float32Array(9).map((_, i) => (i % 2 ? 3.4e38 : -3.4e38));
  expect(allFinite(values)).toBe(true);
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
    for (const i of values.keys()) expect(allFinite(values.with(i, bad))).toBe(false);
});
