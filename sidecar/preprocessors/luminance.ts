import { grayHint, type Hint, type RgbImage, withGamma } from './image.ts';
import type { Options, Values } from './options.ts';

export const options = {
  gamma: { what: 'power that it is raised to', default: 1, min: 0.1, max: 2 },
} satisfies Options;

/** Lightness, L* of CIELAB, of sRGB. */
export function run(image: RgbImage, { gamma }: Values<typeof options>): Hint {
  const { data } = image;
  const lightness = new Uint8ClampedArray(image.width * image.height);
  for (let i = 0, j = 0; i < lightness.length; i++, j += 3) {
    // Y of D65 (IEC 61966-2-1).
    const y =
      0.212671 * linear[data[j]!]! + 0.71516 * linear[data[j + 1]!]! + 0.072169 * linear[data[j + 2]!]!;
    lightness[i] = 255 * (y > 216 / 24389 ? 1.16 * Math.cbrt(y) - 0.16 : (24389 / 2700) * y);
  }
  return grayHint(withGamma(new Uint8Array(lightness.buffer), gamma), image);
}

/** sRGB's bytes as intensities, 0…1. */
const linear = Float64Array.from({ length: 256 }, (_, i) => {
  const value = i / 255;
  return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
});
