import type { Hint, RgbImage } from './image.ts';
import type { Options, Values } from './options.ts';
import { ade20k, coco } from './palettes.ts';

export const options = {
  palette: {
    what: '0: the 150 colours of ADE20K; 1: the 133 of COCO',
    default: 0,
    min: 0,
    max: 1,
    whole: true,
  },
} satisfies Options;

/** A map of classes painted by hand, or spoiled by JPEG: each pixel in the nearest colour of a palette, the first of equals. */
export function run(image: RgbImage, { palette }: Values<typeof options>): Hint {
  const colours = palette === 1 ? coco : ade20k;
  const found = new Map<number, number>();
  const data = new Uint8Array(image.data.length);
  for (let i = 0; i < data.length; i += 3) {
    const [r, g, b] = [image.data[i]!, image.data[i + 1]!, image.data[i + 2]!];
    const own = (r << 16) | (g << 8) | b;
    const colour = found.get(own) ?? nearestColour(r, g, b, colours);
    found.set(own, colour);
    data[i] = colour >> 16;
    data[i + 1] = colour >> 8;
    data[i + 2] = colour;
  }
  return { ...image, data };
}

function nearestColour(r: number, g: number, b: number, colours: readonly number[]): number {
  let best = Number.POSITIVE_INFINITY;
  let nearest = 0;
  for (const colour of colours) {
    const [dr, dg, db] = [(colour >> 16) - r, ((colour >> 8) & 255) - g, (colour & 255) - b];
    const distance = dr * dr + dg * dg + db * db;
    if (distance < best) {
      best = distance;
      nearest = colour;
    }
  }
  return nearest;
}
