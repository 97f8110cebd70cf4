import sharp from 'sharp';
import { fileText } from '../../../edge/a1111/file-text.ts';

// What a picture tells of how it was made: PNG's text chunks, EXIF in JPEG and WebP.

export function fuzz(bytes: Buffer): void {
  const text = fileText(bytes);
  if (text !== undefined && typeof text !== 'string') throw new Error('Expected text or nothing');
}

export async function seeds(): Promise<Uint8Array[]> {
  const image = () => sharp({ create: { width: 8, height: 8, channels: 3, background: '#123' } });
  const exif = { IFD0: { ImageDescription: 'a boat' }, IFD2: { UserComment: 'UNICODE\0a boat\nSteps: 3' } };
  return Promise.all([
    image().png().toBuffer(),
    image().withExif(exif).png().toBuffer(),
    image().withExif(exif).jpeg().toBuffer(),
    image().withExif(exif).webp().toBuffer(),
  ]);
}
