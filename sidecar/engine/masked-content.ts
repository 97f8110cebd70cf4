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

/** Values of a pixel: red, green and blue, times the opacity that comes last. */
const VALUES = 4;

/** Opacities below this are what the running sums of `average` leave of their rounding: nothing that stays is near. */
const LEAST_OPACITY = 1e-9;

/**
 * A picture whose masked part has the colours around it, the nearer the finer, as A1111's web UI fills it: of all but
 * the masked part, transparent by as much as it is masked, come copies that are blurred less and less.
 * @param rgb [H,W,3]
 * @param mask [H,W], 0…255
 * @returns [H,W,3]; where the mask is 0, as it was. Black further than 768 pixels from all that stays.
 */
export function fillMasked(rgb: Uint8Array, mask: Uint8Array, size: PictureSize): Uint8Array {
  const kept = withOpacity(rgb, mask);
  const filled = new Float32Array(kept.length);
  for (const [sigma, times] of layers) {
    const layer = blurred(kept, size, sigma);
    for (let n = 0; n < times; n++) lay(layer, filled);
  }
  const out = new Uint8ClampedArray(rgb.length);
  for (let i = 0; i < mask.length; i++) {
    const opacity = filled[VALUES * i + 3]!;
    if (opacity < LEAST_OPACITY) continue;
    for (let c = 0; c < 3; c++) out[3 * i + c] = Math.round(filled[VALUES * i + c]! / opacity);
  }
  return new Uint8Array(out.buffer);
}

/** What a mask leaves of [H,W,3]: [H,W,4]. */
function withOpacity(rgb: Uint8Array, mask: Uint8Array): Float32Array {
  const kept = new Float32Array(VALUES * mask.length);
  for (let i = 0; i < mask.length; i++) {
    const opacity = 1 - mask[i]! / 255;
    for (let c = 0; c < 3; c++) kept[VALUES * i + c] = opacity * rgb[3 * i + c]!;
    kept[VALUES * i + 3] = opacity;
  }
  return kept;
}

/** Lays one [H,W,4] over another. */
function lay(over: Float32Array, under: Float32Array): void {
  for (let i = 0; i < under.length; i += VALUES) {
    const through = 1 - over[i + 3]!;
    for (let j = i; j < i + VALUES; j++) under[j] = over[j]! + through * under[j]!;
  }
}

/** A box that reaches so many items to each side, with the share `edge` of one more. */
interface Box {
  reach: number;
  edge: number;
}

/** Of that many boxes, one after another, comes nearly a Gaussian. */
const BOXES = 3;

/**
 * A Gaussian blur of [H,W,4] whose border goes on beyond it, in time that does not grow with `sigma`: by boxes of the same
 * variance together (Gwosdek et al., doi:10.1007/978-3-642-24785-9_38).
 */
function blurred(image: Float32Array, { width, height }: PictureSize, sigma: number): Float32Array {
  if (sigma === 0) return image;
  const box = boxOf(sigma ** 2 / BOXES);
  const line = VALUES * width;
  let [from, to] = [image.slice(), new Float32Array(image.length)];
  for (let n = 0; n < 2 * BOXES; n++) {
    if (n < BOXES) for (let y = 0; y < height; y++) average(from, to, y * line, width, VALUES, box);
    else average(from, to, 0, height, line, box);
    [from, to] = [to, from];
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
