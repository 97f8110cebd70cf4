import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { encodeImage, type ImageFormat } from '../../sidecar/engine/image-file.ts';
import { encodePng } from '../../sidecar/engine/png.ts';

// A gradient of colours: what is lossy shows.
const [width, height] = [33, 17];
const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 37) % 256);
const pixels = { data, width, height };

/** The text of EXIF's user comment: 8 bytes of encoding, then UTF-16 in the order of the file. */
async function comment(file: Buffer): Promise<string | undefined> {
  const { exif } = await sharp(file).metadata();
  if (!exif) return undefined;
  const at = exif.indexOf('UNICODE\0', 0, 'latin1');
  expect(exif.toString('latin1', 0, 8)).toMatch(/^(Exif\0\0)?MM/);
  return Buffer.from(exif.subarray(at + 8))
    .swap16()
    .toString('utf16le');
}

describe.each([
  ['IMAGE_FORMAT_JPEG', 'jpeg'],
  ['IMAGE_FORMAT_WEBP', 'webp'],
] as [ImageFormat, string][])('%s', (format, name) => {
  it('has the picture, and any text beside it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 300 }), async (text) => {
        const file = await encodeImage(pixels, { format }, text);
        expect(await sharp(file).metadata()).toMatchObject({ format: name, width, height });
        expect(await comment(file)).toBe(text);
        const bare = await encodeImage(pixels, { format });
        const raw = (bytes: Buffer) => sharp(bytes).raw().toBuffer();
        expect((await raw(file)).equals(await raw(bare))).toBe(true);
      }),
      { numRuns: 20 },
    );
  });

  it('is smaller at lower quality', async () => {
    const sizes = await Promise.all(
      [1, 50, 100].map(async (quality) => (await encodeImage(pixels, { format, quality })).length),
    );
    expect(sizes).toEqual([...sizes].sort((a, b) => a - b));
    expect(new Set(sizes).size).toBe(3);
    expect(await encodeImage(pixels, { format })).toEqual(
      await encodeImage(pixels, { format, quality: 100 }),
    );
  });
});

it('a text too long for JPEG is left out of it, not the picture', async () => {
  const text = 'x'.repeat(40_000);
  const file = await encodeImage(pixels, { format: 'IMAGE_FORMAT_JPEG' }, text);
  expect(await sharp(file).metadata()).toMatchObject({ width, height });
  expect(await comment(file)).toBeUndefined();
  expect(await comment(await encodeImage(pixels, { format: 'IMAGE_FORMAT_WEBP' }, text))).toBe(text);
});

it('a PNG is what it always was', async () => {
  const file = await encodeImage(pixels, { format: 'IMAGE_FORMAT_PNG', quality: 3 }, 'text');
  expect(file.equals(await encodePng(pixels, 'text'))).toBe(true);
});
