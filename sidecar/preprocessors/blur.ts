import { gaussian } from './gaussian.ts';
import { bytes, type Hint, type RgbImage } from './image.ts';
import type { Options, Values } from './options.ts';

export const options = {
  sigma: { what: 'standard deviation, pixels', default: 9, min: 0.01, max: 16 },
} satisfies Options;

/** A Gaussian blur. */
export function run(image: RgbImage, { sigma }: Values<typeof options>): Hint {
  return { ...image, data: bytes(gaussian(image, sigma, 3)) };
}
