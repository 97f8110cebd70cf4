import type { RgbImage } from './image.ts';

/** Sobel's derivatives of each pixel, [H,W], and their norm with a border of zeros, [H+2,W+2]. */
export interface Gradient {
  dx: Int16Array;
  dy: Int16Array;
  norm: Int32Array;
}

/**
 * 3×3 Sobel in whole numbers, the outermost pixels repeated beyond the border. Of several channels each pixel has the
 * one whose norm is largest, the first of equals.
 * @param data [H,W,C]
 * @param squared dx² + dy² for the norm, and not |dx| + |dy|.
 */
export function gradient(
  { data, width, height }: RgbImage,
  { channels = 3, squared = false } = {},
): Gradient {
  const dx = new Int16Array(width * height);
  const dy = new Int16Array(width * height);
  const norm = new Int32Array((width + 2) * (height + 2));
  const stride = channels * width;
  for (let y = 0; y < height; y++) {
    const middle = y * stride;
    const above = y > 0 ? middle - stride : middle;
    const below = y < height - 1 ? middle + stride : middle;
    for (let x = 0; x < width; x++) {
      const here = channels * x;
      const left = x > 0 ? here - channels : here;
      const right = x < width - 1 ? here + channels : here;
      let bestX = 0;
      let bestY = 0;
      let best = -1;
      for (let c = 0; c < channels; c++) {
        const falling = data[below + right + c]! - data[above + left + c]!;
        const rising = data[above + right + c]! - data[below + left + c]!;
        const gx = falling + rising + 2 * (data[middle + right + c]! - data[middle + left + c]!);
        const gy = falling - rising + 2 * (data[below + here + c]! - data[above + here + c]!);
        const n = squared ? gx * gx + gy * gy : Math.abs(gx) + Math.abs(gy);
        if (n > best) {
          bestX = gx;
          bestY = gy;
          best = n;
        }
      }
      const i = y * width + x;
      dx[i] = bestX;
      dy[i] = bestY;
      norm[(y + 1) * (width + 2) + x + 1] = best;
    }
  }
  return { dx, dy, norm };
}
