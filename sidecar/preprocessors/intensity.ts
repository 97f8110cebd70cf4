import { grayHint, type Hint, type RgbImage, withGamma } from './image.ts';
import { options as luminanceOptions } from './luminance.ts';
import type { Values } from './options.ts';

export const options = luminanceOptions;

/** The largest of a pixel's three values: V of HSV. */
export function run(image: RgbImage, { gamma }: Values<typeof options>): Hint {
  const values = new Uint8Array(image.width * image.height);
  for (let i = 0, j = 0; i < values.length; i++, j += 3)
    values[i] = Math.max(image.data[j]!, image.data[j + 1]!, image.data[j + 2]!);
  return grayHint(withGamma(values, gamma), image);
}
