import { type Gradient, gradient } from './gradient.ts';
import { grayHint, type Hint, luma, type RgbImage } from './image.ts';
import type { Options, Values } from './options.ts';

export const options = {
  low_threshold: {
    what: 'gradients above it go on with an edge',
    default: 100,
    min: 0,
    max: 2048,
  },
  high_threshold: { what: 'gradients above it begin one', default: 200, min: 0, max: 2048 },
  l2_gradient: { what: '1: √(dx² + dy²) and not |dx| + |dy|', default: 0, min: 0, max: 1, whole: true },
  gray: {
    what: '1: of the luma and not of the channel that changes most',
    default: 0,
    min: 0,
    max: 1,
    whole: true,
  },
} satisfies Options;

/** Canny's edges (IEEE TPAMI 8, 1986), white on black, pixel for pixel those of OpenCV's Canny without smoothing. */
export function run(image: RgbImage, values: Values<typeof options>): Hint {
  const { low_threshold, high_threshold, l2_gradient, gray } = values;
  const squared = l2_gradient === 1;
  const source = gray ? { ...image, data: luma(image.data) } : image;
  const slopes = gradient(source, { channels: gray ? 1 : 3, squared });
  const [low, high] = [low_threshold, high_threshold]
    .sort((a, b) => a - b)
    .map((t) => Math.floor(squared ? t * t : t));
  return grayHint(trace(thin(slopes, image, low!, high!), image.width), image);
}

const WEAK = 1;
const STRONG = 2;
/** tan 22.5° in 15 bits. */
const TAN = 13573;

/**
 * Ridges of the norm, [H+2,W+2]: of each pixel, its neighbours across the edge in one of four directions. Of two equal
 * ones the left, or the upper one stays.
 */
function thin(
  { dx, dy, norm }: Gradient,
  { width, height }: RgbImage,
  low: number,
  high: number,
): Uint8Array {
  const stride = width + 2;
  const edges = new Uint8Array(norm.length);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) {
      const j = (y + 1) * stride + x + 1;
      const n = norm[j]!;
      if (n <= low) continue;
      const gx = dx[i]!;
      const gy = dy[i]!;
      const flat = Math.abs(gx) * TAN;
      const steep = flat + Math.abs(gx) * 2 ** 16;
      const rise = Math.abs(gy) * 2 ** 15;
      const down = gx * gy < 0 ? stride - 1 : stride + 1;
      const isRidge =
        rise < flat
          ? n > norm[j - 1]! && n >= norm[j + 1]!
          : rise > steep
            ? n > norm[j - stride]! && n >= norm[j + stride]!
            : n > norm[j - down]! && n > norm[j + down]!;
      if (isRidge) edges[j] = n > high ? STRONG : WEAK;
    }
  return edges;
}

/** Strong pixels and the weak ones that touch them, one after another, side by side or at a corner: [H,W], 0 or 255. */
function trace(edges: Uint8Array, width: number): Uint8Array {
  const stride = width + 2;
  const neighbours = [-stride - 1, -stride, -stride + 1, -1, 1, stride - 1, stride, stride + 1];
  const found: number[] = [];
  for (let j = 0; j < edges.length; j++) if (edges[j] === STRONG) found.push(j);
  for (let j = found.pop(); j !== undefined; j = found.pop())
    for (const step of neighbours)
      if (edges[j + step] === WEAK) {
        edges[j + step] = STRONG;
        found.push(j + step);
      }
  const height = edges.length / stride - 2;
  const out = new Uint8Array(width * height);
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) out[i] = edges[(y + 1) * stride + x + 1] === STRONG ? 255 : 0;
  return out;
}
