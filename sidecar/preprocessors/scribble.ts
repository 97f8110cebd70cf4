import { darkest, grayHint, type Hint, type RgbImage } from './image.ts';
import type { Options, Values } from './options.ts';

export const options = {
  threshold: { what: 'between lines and ground', default: 127, min: 0, max: 255 },
  ink: {
    what: '1: dark lines on light ground; 2: light ones on dark; 0: whichever there is less of',
    default: 0,
    min: 0,
    max: 2,
    whole: true,
  },
} satisfies Options;

/**
 * White lines on black, from a drawing. They stay as wide as they are: the published ControlNets for scribbles know lines
 * of 1 to 24 pixels in 512.
 */
export function run(image: RgbImage, { threshold, ink }: Values<typeof options>): Hint {
  const values = darkest(image.data);
  const isDark = (value: number) => value < threshold;
  const isLight = (value: number) => value > threshold;
  const count = (is: (value: number) => boolean) => values.reduce((n, value) => n + (is(value) ? 1 : 0), 0);
  const isLine = ink === 1 || (ink === 0 && count(isDark) <= count(isLight)) ? isDark : isLight;
  return grayHint(
    values.map((value) => (isLine(value) ? 255 : 0)),
    image,
  );
}
