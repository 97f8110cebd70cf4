import { gaussian } from './gaussian.ts';
import { grayHint, type Hint, type RgbImage } from './image.ts';
import type { Options, Values } from './options.ts';

export const options = {
  threshold: {
    what: 'lines are where twice the difference is above it',
    default: 32,
    min: 1,
    max: 64,
  },
} satisfies Options;

/** White where a pixel is darker in all channels than around it: of two Gaussians, σ 0.5 and 5, the difference. */
export function run(image: RgbImage, { threshold }: Values<typeof options>): Hint {
  const near = gaussian(image, 0.5, 4);
  const far = gaussian(image, 5, 4);
  const lines = new Uint8Array(image.width * image.height);
  for (let i = 0, j = 0; i < lines.length; i++, j += 3) {
    const darker = Math.min(far[j]! - near[j]!, far[j + 1]! - near[j + 1]!, far[j + 2]! - near[j + 2]!);
    lines[i] = 2 * Math.ceil(darker) > threshold ? 255 : 0;
  }
  return grayHint(lines, image);
}
