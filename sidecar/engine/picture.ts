import sharp, { type Sharp } from 'sharp';
import { errors } from '../errors.ts';

/** Pixels of a picture that is taken, at most: what a camera makes, and 256 MB while it is decoded. */
export const MAX_PIXELS = 2 ** 26;
const EXPECTED = `a PNG, JPEG or WebP image of at most ${MAX_PIXELS / 2 ** 20} megapixels`;

/** A picture that a request brings along: checked, not decoded yet. Of an animation, its first frame. */
export interface Picture {
  /** Pixels, turned as its EXIF orientation says. */
  width: number;
  height: number;
  /** Red, green, blue, row by row, [H,W,3]. Transparent parts are white; other colour spaces become sRGB. */
  rgb(size: PictureSize): Promise<Uint8Array>;
  /** Grey values, row by row, [H,W]. Transparent parts are black. */
  grey(size: PictureSize): Promise<Uint8Array>;
  /** How transparent each pixel is, 0…255, row by row, [H,W]; undefined where the file has no alpha channel. */
  transparency?: ((size: PictureSize) => Promise<Uint8Array>) | undefined;
}

export interface PictureSize {
  width: number;
  height: number;
}

/**
 * Reads a picture's header.
 * @param field that it came in, for messages.
 * @throws ServiceError invalid_argument for anything but a picture within the limits.
 */
export async function openPicture(bytes: Uint8Array, field: string): Promise<Picture> {
  // By its first bytes, so that of all that libvips reads (SVG, PDF, …) only these formats reach it.
  if (!isRaster(bytes)) throw errors.unexpected(field, EXPECTED, 'something else');
  const decoder = () => sharp(bytes, { limitInputPixels: MAX_PIXELS, failOn: 'error' }).autoOrient();
  const unreadable = (error: unknown) => {
    const [line] = (error as Error).message.split('\n');
    return /pixel limit/.test(line!)
      ? errors.unexpected(field, EXPECTED, 'a larger one')
      : errors.unexpected(field, EXPECTED, `one that cannot be read: ${line!.slice(0, 120)}`);
  };
  const { autoOrient, hasAlpha } = await decoder()
    .metadata()
    .catch((error) => {
      throw unreadable(error);
    });
  const { width, height } = autoOrient;
  if (width * height > MAX_PIXELS) throw errors.unexpected(field, EXPECTED, `${width}x${height} pixels`);

  return pictureOf(decoder, { width, height, hasAlpha }, unreadable);
}

/** A picture of pixels at hand: RGB or grey, row by row. */
export function rawPicture(data: Uint8Array, { width, height }: PictureSize): Picture {
  const channels = (data.length / (width * height)) as 1 | 3;
  return pictureOf(
    () => sharp(data, { raw: { width, height, channels } }),
    { width, height },
    (error) => error,
  );
}

/** What of a picture is transparent, as the grey values of another; undefined where its file has no alpha channel. */
export function transparentIn(picture: Picture): Picture | undefined {
  const { transparency } = picture;
  return transparency && { ...picture, grey: transparency };
}

function pictureOf(
  open: () => Sharp,
  { width, height, hasAlpha }: PictureSize & { hasAlpha?: boolean },
  explain: (error: unknown) => unknown,
): Picture {
  const pixels = async (image: Sharp, size: PictureSize) => {
    const isOwn = size.width === width && size.height === height;
    const scaling = { fit: 'fill', kernel: 'lanczos3', fastShrinkOnLoad: false } as const;
    const sized = isOwn ? image : image.resize(size.width, size.height, scaling);
    const data = await sized
      .raw({ depth: 'uchar' })
      .toBuffer()
      .catch((error) => {
        throw explain(error);
      });
    return new Uint8Array(data.buffer, data.byteOffset, data.length);
  };
  return {
    width,
    height,
    rgb: (size) =>
      pixels(open().flatten({ background: '#ffffff' }).toColourspace('srgb').removeAlpha(), size),
    grey: (size) => pixels(open().flatten({ background: '#000000' }).toColourspace('b-w'), size),
    transparency: hasAlpha
      ? async (size) =>
          (await pixels(open().toColourspace('srgb').extractChannel('alpha'), size)).map((a) => 255 - a)
      : undefined,
  };
}

/** PNG (ISO 15948, 5.2), JPEG (ITU T.81, B.1.1.3), WebP (RFC 9649, 2.4). */
function isRaster(bytes: Uint8Array): boolean {
  const head = Buffer.from(bytes.subarray(0, 12)).toString('latin1');
  return (
    head.startsWith('\x89PNG\r\n\x1a\n') || head.startsWith('\xff\xd8\xff') || /^RIFF.{4}WEBP/s.test(head)
  );
}

/** RGB [H,W,3] → image [3,H,W], −1…1, as an autoencoder takes it. */
export function toUnitRange(rgb: Uint8Array): Float32Array {
  const area = rgb.length / 3;
  const image = new Float32Array(rgb.length);
  for (let c = 0; c < 3; c++)
    for (let i = 0; i < area; i++) image[c * area + i] = Math.fround(rgb[3 * i + c]! / 255) * 2 - 1;
  return image;
}
