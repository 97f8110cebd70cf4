import sharp from 'sharp';
import { withJpegComment, withWebpComment } from './exif.ts';
import { encodePng, type Pixels } from './png.ts';

/** As the contract names them. */
export const imageFormats = ['IMAGE_FORMAT_PNG', 'IMAGE_FORMAT_JPEG', 'IMAGE_FORMAT_WEBP'] as const;

export type ImageFormat = (typeof imageFormats)[number];

export interface Encoding {
  format: ImageFormat;
  /** 1…100; not of PNG. */
  quality?: number | undefined;
}

/** OpenAI's default. */
export const DEFAULT_QUALITY = 100;

/** Below it, halving the resolution of colours goes unseen beside what else is lost. */
const FULL_COLOUR = 90;

/**
 * Encodes an image, with `text` where image browsers and other UIs look for the parameters: a PNG's `parameters`,
 * EXIF's user comment in the others.
 */
export async function encodeImage(
  pixels: Pixels,
  { format, quality = DEFAULT_QUALITY }: Encoding,
  text?: string,
): Promise<Buffer> {
  if (format === 'IMAGE_FORMAT_PNG') return encodePng(pixels, text);
  const { data, width, height } = pixels;
  const image = sharp(data, { raw: { width, height, channels: 3 } });
  if (format === 'IMAGE_FORMAT_WEBP') {
    const webp = await image.webp({ quality }).toBuffer();
    return text === undefined ? webp : withWebpComment(webp, text, pixels);
  }
  const chromaSubsampling = quality >= FULL_COLOUR ? '4:4:4' : '4:2:0';
  const jpeg = await image.jpeg({ quality, chromaSubsampling }).toBuffer();
  return text === undefined ? jpeg : withJpegComment(jpeg, text);
}
