import { gaussian } from './gaussian.ts';
import { gradient } from './gradient.ts';
import { bytes, grayHint, type Hint, type RgbImage } from './image.ts';
import type { Options, Values } from './options.ts';

export const options = {
  sigma: { what: 'pixels to blur before; 0: none', default: 1, min: 0, max: 16 },
  levels: {
    what: 'steps of brightness above black, so that no shading is left between edges (A1111\'s "safe" has 2); 0: all',
    default: 0,
    min: 0,
    max: 255,
    whole: true,
  },
} satisfies Options;

/** √(dx² + dy²) of Sobel's derivatives, of each pixel's channel that changes most, by its maximum. */
export function run(image: RgbImage, { sigma, levels }: Values<typeof options>): Hint {
  const soft = sigma > 0 ? { ...image, data: bytes(gaussian(image, sigma, 3)) } : image;
  const { norm } = gradient(soft, { squared: true });
  const { width, height } = image;
  const largest = Math.sqrt(norm.reduce((a, b) => Math.max(a, b)));
  const edges = new Uint8ClampedArray(width * height);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) {
      const share = Math.sqrt(norm[(y + 1) * (width + 2) + x + 1]!) / Math.max(largest, 1);
      edges[i] = 255 * (levels > 0 ? Math.floor(share * (levels + 1)) / levels : share);
    }
  return grayHint(new Uint8Array(edges.buffer), image);
}
