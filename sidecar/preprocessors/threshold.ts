import { darkest, grayHint, type Hint, type RgbImage } from './image.ts';
import type { Options, Values } from './options.ts';

export const options = {
  threshold: { what: 'pixels whose three values are all above it are white', default: 127, min: 0, max: 255 },
} satisfies Options;

/** White where a pixel is light, black elsewhere. */
export function run(image: RgbImage, { threshold }: Values<typeof options>): Hint {
  return grayHint(
    darkest(image.data).map((value) => (value > threshold ? 255 : 0)),
    image,
  );
}
