import { describe, expect, test } from 'vitest';
import { type InterpolationMode, interpolate } from '../../sidecar/engine/interpolate.ts';
import { relativeL2 } from '../support/compare.ts';
import { fixtureCase } from '../support/fixtures.ts';

const { params, tensors } = fixtureCase('interpolate');
const latents = tensors['in.latents']!;
const [, , h, w] = latents.shape as [number, number, number, number];

describe.each(params.modes as InterpolationMode[])('%s', (mode) => {
  test.each(params.sizes as [number, number][])('to %dx%d, as torch', (H, W) => {
    const actual = interpolate(latents.data as Float32Array, [h, w], [H, W], mode);
    expect(relativeL2(actual, tensors[`out.${mode}.${H}x${W}`]!.data)).toBeLessThanOrEqual(
      mode.startsWith('nearest') ? 0 : 1e-6,
    );
  });

  test('to its own size: unchanged', () => {
    const data = latents.data as Float32Array;
    expect(interpolate(data, [h, w], [h, w], mode)).toEqual(data);
  });
});
