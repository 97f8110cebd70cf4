import sharp from 'sharp';
import type { Source } from './beginnings/index.ts';
import { type PictureSize, rawPicture } from './picture.ts';
import type { Pixels } from './png.ts';

export interface RetouchOptions {
  /** Standard deviation, in pixels, of what softens the mask's edges. */
  maskBlur?: number;
  /** Pixels around the masked part; when set, only that part of the picture is made anew. */
  onlyMaskedPadding?: number;
  /** Whether the picture's own pixels are put back where the mask is black. */
  keepUnmasked?: boolean;
}

/** What a run of inpainting begins from, and what is done with what it makes. */
export interface Retouch {
  source: Source | undefined;
  finish(made: Pixels): Promise<Pixels>;
  /** The part of the whole picture that the run makes, where it is only a part. */
  part?: { whole: PictureSize; region: Region };
}

/** A rectangle of pixels. */
export interface Region extends PictureSize {
  left: number;
  top: number;
}

/**
 * Prepares inpainting of a picture, or of the part of it around the mask.
 * @param size that the run is to have.
 */
export async function retouch(
  source: Source | undefined,
  size: PictureSize,
  { maskBlur = 0, onlyMaskedPadding: padding, keepUnmasked = false }: RetouchOptions,
): Promise<Retouch> {
  if (!source?.mask || (maskBlur === 0 && padding === undefined && !keepUnmasked))
    return { source, finish: async (made) => made };

  const { image, mask } = source;
  // Of a part, the whole picture comes back as it is; else what was scaled.
  const whole = padding === undefined ? size : { width: image.width, height: image.height };
  const [own, hard] = await Promise.all([image.rgb(whole), mask.grey(whole)]);
  const binary = hard.map((grey) => (grey >= 128 ? 255 : 0));
  const soft = maskBlur > 0 ? await blur(binary, whole, maskBlur) : binary;
  const region =
    padding === undefined
      ? { left: 0, top: 0, ...whole }
      : expand(boundsOf(soft, whole), { padding, whole, aspect: size.width / size.height });
  const isPutBack = keepUnmasked || padding !== undefined;
  return {
    ...(padding !== undefined && { part: { whole, region } }),
    source: {
      ...source,
      image: rawPicture(crop(own, whole, region), region),
      mask: rawPicture(crop(soft, whole, region), region),
    },
    async finish(made) {
      if (!isPutBack) return made;
      const part = await rawPicture(made.data, made).rgb(region);
      return { data: blend(own, part, soft, whole, region), ...whole };
    },
  };
}

async function blur(mask: Uint8Array, { width, height }: PictureSize, sigma: number): Promise<Uint8Array> {
  const soft = await sharp(mask, { raw: { width, height, channels: 1 } })
    .blur(sigma)
    .toColourspace('b-w')
    .raw()
    .toBuffer();
  return new Uint8Array(soft.buffer, soft.byteOffset, soft.length);
}

/** The smallest rectangle that holds all of a mask that is not black; of one that is all black, everything. */
export function boundsOf(mask: Uint8Array, { width, height }: PictureSize): Region {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      if (mask[y * width + x] === 0) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = y;
    }
  if (right < 0) return { left: 0, top: 0, width, height };
  return { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** A region with something around it, then made wider or higher to the aspect of the run as far as the picture goes. */
export function expand(
  region: Region,
  { padding, whole, aspect }: { padding: number; whole: PictureSize; aspect: number },
): Region {
  const [left, width] = span(region.left - padding, region.width + 2 * padding, whole.width);
  const [top, height] = span(region.top - padding, region.height + 2 * padding, whole.height);
  const wider = Math.max(width, Math.round(height * aspect));
  const higher = Math.max(height, Math.round(width / aspect));
  const [x, w] = around(left, width, wider, whole.width);
  const [y, h] = around(top, height, higher, whole.height);
  return { left: x, top: y, width: w, height: h };
}

/** What of a span lies within 0…limit. */
function span(from: number, length: number, limit: number): [from: number, length: number] {
  const begin = Math.max(0, from);
  return [begin, Math.min(limit, from + length) - begin];
}

/** A span of that length around another, moved so that it lies within 0…limit. */
function around(from: number, length: number, wanted: number, limit: number): [from: number, length: number] {
  const fits = Math.min(wanted, limit);
  const begin = from - Math.floor((fits - length) / 2);
  return [Math.min(Math.max(0, begin), limit - fits), fits];
}

/** A part of the pixels [H,W,C] of a picture. */
export function crop(
  pixels: Uint8Array,
  whole: PictureSize,
  { left, top, width, height }: Region,
): Uint8Array {
  const channels = pixels.length / (whole.width * whole.height);
  const out = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * whole.width + left) * channels;
    out.set(pixels.subarray(from, from + width * channels), y * width * channels);
  }
  return out;
}

/** The picture with a part of it replaced as far as the mask is white; where that is black, not a byte changes. */
function blend(
  own: Uint8Array,
  part: Uint8Array,
  mask: Uint8Array,
  whole: PictureSize,
  { left, top, width, height }: Region,
): Uint8Array {
  const out = own.slice();
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const i = (top + y) * whole.width + left + x;
      const alpha = mask[i]! / 255;
      if (alpha === 0) continue;
      for (let c = 0; c < 3; c++) {
        const made = part[3 * (y * width + x) + c]!;
        out[3 * i + c] = Math.round(own[3 * i + c]! * (1 - alpha) + made * alpha);
      }
    }
  return out;
}
