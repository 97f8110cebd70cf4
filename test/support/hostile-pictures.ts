import { crc32, deflateSync } from 'node:zlib';
import sharp from 'sharp';

const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type), data]);
  const out = Buffer.alloc(8 + body.length);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE(crc32(body), 4 + body.length);
  return out;
}

/** A PNG of zeros that says it is of that size; its rows are as many as it says, in 2²⁴ bytes at most. */
export function blackPng(width: number, height: number, { bits = 8, grey = false } = {}): Buffer {
  const ihdr = Buffer.alloc(13);
  ihdr.writeUInt32BE(width, 0);
  ihdr.writeUInt32BE(height, 4);
  ihdr.set([bits, grey ? 0 : 2, 0, 0, 0], 8);
  const row = Math.ceil((width * bits * (grey ? 1 : 3)) / 8) + 1;
  const rows = Buffer.alloc(Math.min(2 ** 24, row * height));
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', ihdr),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

export interface HostilePicture {
  what: string;
  bytes: Buffer;
  /** Whether a picture can be read in it. */
  isPicture: boolean;
}

/** What may come in place of an honest picture of 64×64. */
export async function hostilePictures(): Promise<HostilePicture[]> {
  const noise = Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * i * 7919) % 251);
  const raw = () => sharp(noise, { raw: { width: 64, height: 64, channels: 3 } });
  const png = await raw().png().toBuffer();
  const jpeg = await raw().jpeg().toBuffer();
  const frames = sharp(noise, { raw: { width: 64, height: 64, channels: 3, pageHeight: 32 } });
  const cut = (file: Buffer) => file.subarray(0, file.length / 2);
  const lying = Buffer.from(png);
  lying.writeUInt32BE(4096, 16);
  const pictures: [string, Buffer | Promise<Buffer>, boolean][] = [
    ['16 bits', raw().toColourspace('rgb16').png().toBuffer(), true],
    ['CMYK', raw().toColourspace('cmyk').jpeg().toBuffer(), true],
    ['animated', frames.webp().toBuffer(), true],
    ['turned by EXIF', raw().jpeg().withMetadata({ orientation: 6 }).toBuffer(), true],
    ['1×65535', blackPng(1, 65_535), true],
    ['a page behind a PNG', Buffer.concat([png, Buffer.from('<script>alert(1)</script>')]), true],
    ['19000×19000', blackPng(19_000, 19_000, { bits: 1, grey: true }), false],
    ['0×7', blackPng(0, 7), false],
    ['2³¹−1 squared', blackPng(2 ** 31 - 1, 2 ** 31 - 1), false],
    ['a header that lies', lying, false],
    ['half a PNG', cut(png), false],
    ['half a JPEG', cut(jpeg), false],
    ['half a WebP', raw().webp().toBuffer().then(cut), false],
    ['a signature alone', SIGNATURE, false],
    ['SVG', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), false],
    ['SVG behind white space', Buffer.from('\n <?xml version="1.0"?><svg/>'), false],
    ['a PNG behind a GIF', Buffer.concat([Buffer.from('GIF89a\x01\x00\x01\x00'), png]), false],
    ['PDF', Buffer.from('%PDF-1.7\n1 0 obj'), false],
    ['text', Buffer.from('hello'), false],
  ];
  return Promise.all(
    pictures.map(async ([what, bytes, isPicture]) => ({ what, bytes: await bytes, isPicture })),
  );
}
