import { gaussian } from './gaussian.ts';
import { grayHint, type Hint, type RgbImage } from './image.ts';

export const options = {};

/**
 * Light lines on black, from a dark drawing on light ground: how much darker a pixel is in all channels than a Gaussian
 * around it, σ 6; half white is the median of what stands out by more than 8, or 16 where that is less.
 */
export function run(image: RgbImage): Hint {
  const { data } = image;
  const ground = gaussian(image, 6, 4);
  const depth = new Float32Array(image.width * image.height);
  for (let i = 0, j = 0; i < depth.length; i++, j += 3)
    depth[i] = Math.min(ground[j]! - data[j]!, ground[j + 1]! - data[j + 1]!, ground[j + 2]! - data[j + 2]!);
  const unit = Math.max(16, median(depth.filter((value) => value > 8)));
  const lines = new Uint8Array(depth.length);
  for (let i = 0; i < lines.length; i++) lines[i] = Math.min(Math.max((depth[i]! / unit) * 127, 0), 255);
  return grayHint(lines, image);
}

function median(values: Float32Array): number {
  if (values.length === 0) return 0;
  const sorted = values.sort();
  const middle = sorted.length / 2;
  return (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2;
}
