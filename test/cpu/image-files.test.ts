import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { fixtureModel } from '../support/fixtures.ts';

// Pictures in and out as files: formats, masks by their alpha, and how large they may be together.

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.open({ folders: new ModelFolders([await fixtureModel('tiny-sd15')]) });
});
afterAll(() => engine.dispose());

const asked = { prompt: 'a boat', steps: 2, width: 64, height: 64, seeds: [1] };
const raw = (file: Buffer) => sharp(file).raw().toBuffer();

describe('formats', () => {
  test('are what was asked for, previews too, of the same picture', async () => {
    const png = await engine.generate(asked);
    expect(png.effective).toMatchObject({ format: 'IMAGE_FORMAT_PNG', quality: undefined });
    for (const [format, name] of [
      ['IMAGE_FORMAT_JPEG', 'jpeg'],
      ['IMAGE_FORMAT_WEBP', 'webp'],
    ]) {
      const previews: Buffer[] = [];
      const { images, effective } = await engine.generate(
        { ...asked, format, previewInterval: 1 },
        { onProgress: (progress) => previews.push(...progress.previews.map(({ file }) => file)) },
      );
      expect(effective).toMatchObject({ format, quality: 100, ignored: [] });
      for (const file of [images[0]!.file, ...previews])
        expect(await sharp(file).metadata()).toMatchObject({ format: name, width: 64, height: 64 });
      expect(previews.length).toBeGreaterThan(0);
      // Of WebP, colours have half the resolution.
      const grey = (file: Buffer) => sharp(file).greyscale().raw().toBuffer();
      const [own, exact] = await Promise.all([grey(images[0]!.file), grey(png.images[0]!.file)]);
      const off = own.reduce((sum, value, i) => sum + Math.abs(value - exact[i]!), 0) / own.length;
      expect(off).toBeLessThan(6);
    }
  });

  test('with a quality that PNG has no use for', async () => {
    const { effective } = await engine.generate({ ...asked, quality: 50 });
    expect(effective).toMatchObject({ quality: undefined, ignored: ['quality: PNG loses nothing'] });
  });
});

describe('masks', () => {
  const photo = sharp({ create: { width: 64, height: 64, channels: 3, background: '#4080c0' } });
  /** Of these RGBA, the first right of the middle. */
  const half = (right: number[], left: number[]) => {
    const row = [...Array(32).fill(left), ...Array(32).fill(right)].flat();
    const data = Uint8Array.from(Array(64).fill(row).flat());
    return sharp(data, { raw: { width: 64, height: 64, channels: 4 } })
      .png()
      .toBuffer();
  };

  test('by their alpha mean what those in black and white do', async () => {
    const request = { ...asked, initImage: await photo.png().toBuffer(), keepUnmasked: true };
    const byLuminance = await half([255, 255, 255, 255], [0, 0, 0, 255]);
    const byAlpha = await half([0, 0, 0, 0], [9, 9, 9, 255]);
    const grey = await engine.generate({ ...request, mask: byLuminance });
    const alpha = await engine.generate({ ...request, mask: byAlpha, maskChannel: 'alpha' });
    expect(alpha.images[0]!.file.equals(grey.images[0]!.file)).toBe(true);
    const own = await raw(alpha.images[0]!.file);
    expect([...own.subarray(0, 3)]).toEqual([0x40, 0x80, 0xc0]);
    expect(own.subarray(3 * 40, 3 * 64).equals(own.subarray(0, 3 * 24))).toBe(false);
    expect(alpha.effective).toMatchObject({ keepUnmasked: true, maskBlur: 0, onlyMaskedPadding: undefined });
  });

  test('need an alpha channel for that', async () => {
    const initImage = await photo.png().toBuffer();
    const refused = engine.generate({ ...asked, initImage, mask: initImage, maskChannel: 'alpha' });
    await expect(refused).rejects.toMatchObject({ code: 'invalid_argument', field: 'mask' });
    const { effective } = await engine.generate({ ...asked, maskChannel: 'alpha' });
    expect(effective.ignored).toEqual(['mask_channel: there is no mask']);
  });
});

describe('max_pixels', () => {
  const limit = 64 * 64;
  test.each([
    ['more images', { count: 3, seeds: [1, 2, 3], maxPixels: 2 * limit }, 'count', 'at most 2, as'],
    ['a larger image', { width: 72, maxPixels: limit }, 'width', '72x64'],
    ['a second pass', { hiresScale: 2, maxPixels: 2 * limit }, 'width', '128x128'],
  ])('refuses %s', async (_, request, field, message) => {
    const refused = engine.generate({ ...asked, ...request });
    await expect(refused).rejects.toMatchObject({ code: 'invalid_argument', field });
    await expect(refused).rejects.toThrow(message);
  });

  test('lets as much through', async () => {
    const { images } = await engine.generate({ ...asked, seeds: [1, 2], maxPixels: 2 * limit });
    expect(images).toHaveLength(2);
  });
});
