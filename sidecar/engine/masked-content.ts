import { setImmediate } from 'node:timers/promises';
import type { PictureSize } from './picture.ts';

/**
 * What is made anew begins from ("Masked content" of A1111's web UI): the picture, what `fillMasked` makes of it, or
 * that with noise or zeros for latents.
 */
export const maskedContents = ['original', 'fill', 'latent-noise', 'latent-nothing'] as const;
export type MaskedContent = (typeof maskedContents)[number];

/** Blurred copies of what stays, each laid over those before it: standard deviation in pixels, and how often. */
const layers = [
  [256, 1],
  [64, 1],
  [16, 2],
  [4, 4],
  [2, 2],
  [0, 1],
] as const;

/**
 * A picture whose masked part has the colours around it, the nearer the finer, as A1111's web UI fills it: of all but
 * the masked part, transparent by as much as it is masked, come copies that are blurred less and less.
 * @param rgb [H,W,3]
 * @param mask [H,W], 0…255
 * @returns [H,W,3]; where the mask is 0, as it was. All black where everything is masked.
 */
export async function fillMasked(rgb: Uint8Array, mask: Uint8Array, size: PictureSize): Promise<Uint8Array> {
  const kept = new Float32Array(mask).map((grey) => 1 - grey / 255);
  // Red, green, blue, times the opacity that comes last.
  const filled = Array.from({ length: 4 }, () => new Float32Array(mask.length));
  for (const [sigma, times] of layers) {
    const opacity = await blurred(kept, size, sigma);
    for (const [c, under] of filled.entries()) {
      const over = c === 3 ? opacity : await blurred(channel(rgb, c, kept), size, sigma);
      for (let n = 0; n < times; n++) lay(over, opacity, under);
    }
  }
  const [red, green, blue, opacity] = filled as [Float32Array, Float32Array, Float32Array, Float32Array];
  const out = new Uint8Array(rgb.length);
  for (let i = 0; i < opacity.length; i++) {
    if (opacity[i] === 0) continue;
    out[3 * i] = Math.round(red[i]! / opacity[i]!);
    out[3 * i + 1] = Math.round(green[i]! / opacity[i]!);
    out[3 * i + 2] = Math.round(blue[i]! / opacity[i]!);
  }
  return out;
}

/** Lays a plane over another, both times their opacities. */
function lay(over: Float32Array, opacity: Float32Array, under: Float32Array): void {
  for (let i = 0; i < under.length; i++) under[i] = over[i]! + under[i]! * (1 - opacity[i]!);
}

/** [H,W,3] → one of its channels times shares, [H,W]. */
function channel(rgb: Uint8Array, c: number, shares: Float32Array): Float32Array {
  const plane = new Float32Array(shares.length);
  for (let i = 0; i < plane.length; i++) plane[i] = shares[i]! * rgb[3 * i + c]!;
  return plane;
}

/** A box that reaches so many items to each side, with the share `edge` of one more. */
interface Box {
  reach: number;
  edge: number;
}

/** Of that many boxes, one after another, comes nearly a Gaussian. */
const BOXES = 3;

/**
 * A Gaussian blur of [H,W] whose border goes on beyond it, in time that does not grow with `sigma`: by boxes of the same
 * variance together (Gwosdek et al., doi:10.1007/978-3-642-24785-9_38). Others get their turn between them.
 */
async function blurred(plane: Float32Array, { width, height }: PictureSize, sigma: number) {
  if (sigma === 0) return plane;
  const box = boxOf(sigma ** 2 / BOXES);
  let [from, to] = [plane.slice(), new Float32Array(plane.length)];
  for (let n = 0; n < 2 * BOXES; n++) {
    if (n < BOXES) for (let y = 0; y < height; y++) average(from, to, y * width, width, 1, box);
    else average(from, to, 0, height, width, box);
    [from, to] = [to, from];
    await setImmediate();
  }
  return from;
}

/** The box of that variance. */
function boxOf(variance: number): Box {
  const reach = Math.floor((Math.sqrt(12 * variance + 1) - 1) / 2);
  const missing = (2 * reach + 1) * (variance - (reach * (reach + 1)) / 3);
  return { reach, edge: missing / (2 * ((reach + 1) ** 2 - variance)) };
}

/** The means under a box of a line that begins at `start`: of `length` items, each of `wide` values side by side. */
function average(
  from: Float32Array,
  to: Float32Array,
  start: number,
  length: number,
  wide: number,
  { reach, edge }: Box,
): void {
  const place = (i: number) => start + wide * Math.min(Math.max(i, 0), length - 1);
  const share = 1 / (2 * (reach + edge) + 1);
  const sums = new Float64Array(wide);
  for (let i = -reach; i <= reach; i++) for (let j = 0; j < wide; j++) sums[j]! += from[place(i) + j]!;
  for (let i = 0; i < length; i++) {
    const before = place(i - reach - 1);
    const first = place(i - reach);
    const after = place(i + reach + 1);
    const out = start + wide * i;
    for (let j = 0; j < wide; j++) {
      to[out + j] = share * (sums[j]! + edge * (from[before + j]! + from[after + j]!));
      sums[j]! += from[after + j]! - from[first + j]!;
    }
  }
}
