import type { Hint, RgbImage } from './image.ts';
import type { Options, Values } from './options.ts';
import { scale, visible } from './resize.ts';

export const options = {
  down_sampling_rate: {
    what: 'how many times smaller the picture is made; below 1.1: not at all',
    default: 1,
    min: 1,
    max: 8,
  },
} satisfies Options;

/** The picture without its details: made smaller by area, and large again by a cubic. */
export function run(image: RgbImage, { down_sampling_rate: rate }: Values<typeof options>): Hint {
  if (rate < 1.1) return image;
  const side = (length: number) => Math.max(1, Math.floor(length / rate));
  const small = { width: side(image.width), height: side(image.height) };
  const coarse = scale(image, visible(image, small, 'stretch'), 'smooth');
  return scale(coarse, visible(coarse, image, 'stretch'), 'smooth');
}
