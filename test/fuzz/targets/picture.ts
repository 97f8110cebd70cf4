import sharp from 'sharp';
import { openPicture } from '../../../sidecar/engine/picture.ts';
import { ServiceError } from '../../../sidecar/errors.ts';

// A picture that a request brings along: decoded, or refused as the field's fault.

export async function fuzz(bytes: Buffer): Promise<void> {
  try {
    const picture = await openPicture(bytes, 'init_image');
    const size = { width: Math.min(picture.width, 64), height: Math.min(picture.height, 64) };
    const [rgb, grey] = await Promise.all([picture.rgb(size), picture.grey(size)]);
    if (rgb.length !== 3 * grey.length || grey.length !== size.width * size.height)
      throw new Error('Expected as many values as the size has');
    await picture.transparency?.(size);
  } catch (error) {
    if (error instanceof ServiceError && error.code === 'invalid_argument') return;
    throw error;
  }
}

export async function seeds(): Promise<Uint8Array[]> {
  const pixels = Buffer.from(Array.from({ length: 24 * 16 * 4 }, (_, i) => (i * 37) % 256));
  const image = () => sharp(pixels, { raw: { width: 24, height: 16, channels: 4 } });
  const exif = { IFD0: { Orientation: '6' } };
  return Promise.all([
    image().png().toBuffer(),
    image().png({ palette: true, progressive: true }).toBuffer(),
    image().toColourspace('rgb16').png().toBuffer(),
    image().withExif(exif).jpeg().toBuffer(),
    image().toColourspace('cmyk').jpeg({ progressive: true }).toBuffer(),
    image().webp().toBuffer(),
    image().webp({ lossless: true }).toBuffer(),
  ]);
}
