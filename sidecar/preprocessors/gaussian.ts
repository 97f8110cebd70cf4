import type { RgbImage } from './image.ts';

/**
 * A Gaussian blur in float32, [H,W,3]; what lies beyond the border is the picture in a mirror on the outermost pixel.
 * @param sigma pixels.
 * @param reach of the kernel in sigmas to each side; OpenCV has 3 for bytes and 4 for floats.
 */
export function gaussian({ data, width, height }: RgbImage, sigma: number, reach: number): Float32Array {
  const kernel = gaussianKernel(sigma, reach);
  const radius = kernel.length - 1;
  const row = 3 * width;
  const wide = new Float32Array(row + 6 * radius);
  const lines = new Float32Array(row * height);
  for (let y = 0; y < height; y++) {
    for (let x = -radius; x < width + radius; x++) {
      const from = y * row + 3 * mirror(x, width);
      for (let c = 0; c < 3; c++) wide[3 * (x + radius) + c] = data[from + c]!;
    }
    const out = lines.subarray(y * row, (y + 1) * row);
    for (let k = 0; k <= radius; k++)
      addPair(out, wide, 3 * (radius - k), wide, 3 * (radius + k), kernel[k]!);
  }
  const blurred = new Float32Array(row * height);
  for (let y = 0; y < height; y++) {
    const out = blurred.subarray(y * row, (y + 1) * row);
    for (let k = 0; k <= radius; k++)
      addPair(out, lines, row * mirror(y - k, height), lines, row * mirror(y + k, height), kernel[k]!);
  }
  return blurred;
}

/** out += weight·(a from `i` on + b from `j` on) */
function addPair(out: Float32Array, a: Float32Array, i: number, b: Float32Array, j: number, weight: number) {
  for (let n = 0; n < out.length; n++) out[n]! += weight * (a[i + n]! + b[j + n]!);
}

/** The kernel's middle, halved since it is added twice, and what follows to one side. */
function gaussianKernel(sigma: number, reach: number): Float64Array {
  const radius = Math.round(sigma * reach * 2 + 1) >> 1;
  const half = Float64Array.from({ length: radius + 1 }, (_, k) => Math.exp((-k * k) / (2 * sigma * sigma)));
  half[0]! /= 2;
  const sum = 2 * half.reduce((a, b) => a + b);
  return half.map((value) => value / sum);
}

/** The pixel that stands at `i` of a line that is mirrored on its first and last, as often as it takes. */
function mirror(i: number, length: number): number {
  const period = 2 * (length - 1);
  if (period === 0) return 0;
  const at = ((i % period) + period) % period;
  return at < length ? at : period - at;
}
