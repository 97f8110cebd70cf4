import { describe, expect, test } from 'vitest';
import { knownSpace, LinearDecoder } from '../../sidecar/engine/decoders/linear.ts';

describe('the latents that are known', () => {
  test.each([
    [{ channels: 4, scale: 8, scalingFactor: 0.18215 }, 'sd'],
    [{ channels: 4, scale: 8, scalingFactor: 0.13025 }, 'sdxl'],
    [{ channels: 4, scale: 4, scalingFactor: 0.18215 }, undefined],
    [{ channels: 16, scale: 8, scalingFactor: 0.18215 }, undefined],
    [{ channels: 4, scale: 8, scalingFactor: 1 }, undefined],
  ])('%o: %s', (of, expected) => {
    expect(knownSpace(of)).toBe(expected);
  });
});

test('a colour for each latent, eight by eight pixels of it', async () => {
  const latents = new Float32Array(4 * 2 * 3);
  latents[1] = 1; // first channel, second column
  latents[3 * 6 + 5] = -2; // last channel, last latent
  const { image } = await new LinearDecoder('sd').decode(latents, { height: 2, width: 3 });
  const at = (c: number, y: number, x: number) => image[(c * 16 + y) * 24 + x];
  const colour = (y: number, x: number) => [0, 1, 2].map((c) => at(c, y, x));
  for (const [y, x] of [
    [0, 8],
    [7, 15],
    [3, 9],
  ] as const)
    expect(colour(y, x)).toEqual([0.3512, 0.2297, 0.3227].map(Math.fround));
  for (const [y, x] of [
    [8, 16],
    [15, 23],
  ] as const)
    expect(colour(y, x)).toEqual([0.424, 0.5232, 1.4354].map(Math.fround));
  expect([colour(0, 7), colour(8, 8), colour(15, 15)]).toEqual([0, 0, 0].map(() => [0, 0, 0]));
  const grey = await new LinearDecoder('sdxl').decode(new Float32Array(4), { height: 1, width: 1 });
  expect([0, 64, 128].map((i) => grey.image[i])).toEqual([0.1084, -0.0175, -0.0011].map(Math.fround));
});
