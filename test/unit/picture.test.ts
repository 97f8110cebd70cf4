import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { openPicture } from '../../sidecar/engine/picture.ts';
import { ServiceError } from '../../sidecar/errors.ts';
import { blackPng } from '../support/hostile-pictures.ts';

const raw = (width: number, height: number, channels: 3 | 4, data: number[]) =>
  sharp(Uint8Array.from(data), { raw: { width, height, channels } });

const two = [255, 0, 0, 0, 0, 255];
const red = { width: 1, height: 1 };

describe('openPicture', () => {
  it.each(['png', 'webp'] as const)('reads %s as it is', async (format) => {
    const picture = await openPicture(
      await raw(2, 1, 3, two).toFormat(format, { lossless: true }).toBuffer(),
      'f',
    );
    expect([picture.width, picture.height]).toEqual([2, 1]);
    expect([...(await picture.rgb({ width: 2, height: 1 }))]).toEqual(two);
  });

  it('turns as EXIF says', async () => {
    const jpeg = await raw(2, 1, 3, two).jpeg().withMetadata({ orientation: 6 }).toBuffer();
    const picture = await openPicture(jpeg, 'f');
    expect([picture.width, picture.height]).toEqual([1, 2]);
    expect((await picture.rgb({ width: 1, height: 2 })).length).toBe(6);
  });

  it('puts transparent parts on white, of masks on black', async () => {
    const picture = await openPicture(await raw(1, 1, 4, [9, 9, 9, 0]).png().toBuffer(), 'f');
    expect([...(await picture.rgb(red))]).toEqual([255, 255, 255]);
    expect([...(await picture.grey(red))]).toEqual([0]);
  });

  it('takes 16 bits, grey and CMYK', async () => {
    const wide = await raw(1, 1, 3, [255, 128, 0]).toColourspace('rgb16').png().toBuffer();
    expect((await sharp(wide).metadata()).depth).toBe('ushort');
    const [r, g, b] = await (await openPicture(wide, 'f')).rgb(red);
    expect([r, b]).toEqual([255, 0]);
    expect(Math.abs(g! - 128)).toBeLessThanOrEqual(1);
    const grey = await raw(1, 1, 3, [77, 77, 77]).toColourspace('b-w').png().toBuffer();
    expect([...(await (await openPicture(grey, 'f')).rgb(red))]).toEqual([77, 77, 77]);
    expect([...(await (await openPicture(grey, 'f')).grey(red))]).toEqual([77]);
    const cmyk = await raw(1, 1, 3, [250, 250, 250]).toColourspace('cmyk').jpeg().toBuffer();
    expect((await (await openPicture(cmyk, 'f')).rgb(red)).length).toBe(3);
  });

  it('takes the first frame of an animation', async () => {
    const frames = sharp(Uint8Array.from([...two.slice(0, 3), ...two.slice(3)]), {
      raw: { width: 1, height: 2, channels: 3, pageHeight: 1 },
    });
    const picture = await openPicture(await frames.webp({ lossless: true }).toBuffer(), 'f');
    expect([picture.width, picture.height]).toEqual([1, 1]);
    expect([...(await picture.rgb(red))]).toEqual([255, 0, 0]);
  });

  it('refuses what is no picture, by field', async () => {
    const png = await raw(2, 1, 3, two).png().toBuffer();
    const hostile: [string, Uint8Array][] = [
      ['svg', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')],
      ['gif', Buffer.from('GIF89a')],
      ['text', Buffer.from('hello')],
      ['short', png.subarray(0, 8)],
      ['no rows', blackPng(7, 0)],
      ['19000 x 19000', blackPng(19_000, 19_000)],
      ['lying', blackPng(2 ** 31 - 1, 2 ** 31 - 1)],
    ];
    for (const [what, bytes] of hostile) {
      const error = await openPicture(bytes, 'init_image').catch((thrown) => thrown);
      expect(error, what).toBeInstanceOf(ServiceError);
      expect(error).toMatchObject({ code: 'invalid_argument', field: 'init_image' });
      expect(error.message).toMatch(
        /^Expected a PNG, JPEG or WebP image of at most 64 megapixels for init_image but/,
      );
      expect(error.message.length).toBeLessThan(300);
    }
  });

  it('refuses what breaks off', async () => {
    const noise = Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * i * 7919) % 251);
    for (const format of ['png', 'jpeg', 'webp'] as const) {
      const bytes = await raw(64, 64, 3, noise).toFormat(format).toBuffer();
      const size = { width: 64, height: 64 };
      const reading = openPicture(bytes.subarray(0, bytes.length / 2), 'f').then((picture) =>
        picture.rgb(size),
      );
      await expect(reading, format).rejects.toMatchObject({ code: 'invalid_argument', field: 'f' });
    }
  });

  it('scales', async () => {
    const picture = await openPicture(blackPng(1, 4096), 'f');
    expect([picture.width, picture.height]).toEqual([1, 4096]);
    expect((await picture.rgb({ width: 16, height: 8 })).length).toBe(16 * 8 * 3);
  });
});

describe('transparency', () => {
  const one = { width: 2, height: 1 };
  const data = [9, 9, 9, 0, 200, 200, 200, 255];

  it.each(['png', 'webp'] as const)('of %s is what its alpha lacks', async (format) => {
    const file = await raw(2, 1, 4, data).toFormat(format, { lossless: true }).toBuffer();
    expect([...(await (await openPicture(file, 'f')).transparency!(one))]).toEqual([255, 0]);
  });

  it('of 16 bits too', async () => {
    const file = await raw(2, 1, 4, data).toColourspace('rgb16').png().toBuffer();
    expect((await sharp(file).metadata()).depth).toBe('ushort');
    expect([...(await (await openPicture(file, 'f')).transparency!(one))]).toEqual([255, 0]);
  });

  it('is not there without alpha', async () => {
    expect((await openPicture(await raw(2, 1, 3, two).png().toBuffer(), 'f')).transparency).toBeUndefined();
  });
});
