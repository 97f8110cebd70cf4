import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { fillMasked } from '../../sidecar/engine/masked-content.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { relativeL2, shareBeyondOneLevel } from '../support/compare.ts';
import { type FixtureCase, fixtureCase, fixtureModel } from '../support/fixtures.ts';

// Runs that begin from a picture, against the reference's.

let engine: Engine;
beforeAll(async () => {
  const models = [
    'tiny-sd15',
    'tiny-sd15-inpaint',
    'tiny-ldm-uncond',
    'tiny-sdxl',
    'tiny-sdxl-refiner',
    'tiny-sd-turbo',
    'tiny-sdxl-turbo',
  ];
  engine = await Engine.open({ folders: new ModelFolders(await Promise.all(models.map(fixtureModel))) });
});
afterAll(() => engine.dispose());

/** A picture of a case as a file. */
function file({ tensors }: FixtureCase, name: string): Promise<Buffer> {
  const { shape, data } = tensors[`in.${name}.0`]!;
  const [height, width, channels = 1] = shape as [number, number, 1 | 3 | undefined];
  return sharp(Uint8Array.from(data), { raw: { width, height, channels } }).png().toBuffer();
}

const pixels = (file: Buffer) => sharp(file).raw().toBuffer();

describe.each([
  ['pipeline-sd15-img2img', 'tiny-sd15', 'euler'],
  ['pipeline-sd15-inpaint9', 'tiny-sd15-inpaint', 'ddim'],
  ['pipeline-sd15-inpaint4', 'tiny-sd15', 'ddim'],
  ['pipeline-sdxl-img2img', 'tiny-sdxl', ''],
  ['pipeline-sdxl-refiner', 'tiny-sdxl-refiner', ''],
  ['pipeline-sd-turbo-img2img', 'tiny-sd-turbo', ''],
  ['pipeline-sdxl-turbo-img2img', 'tiny-sdxl-turbo', ''],
])('%s', (name, model, sampler) => {
  test('latents and pixels', async () => {
    const golden = fixtureCase(name);
    const { params, tensors } = golden;
    const { images, effective } = await engine.generate({
      ...{ model, sampler, seeds: [params.seed], returnLatents: true },
      prompt: params.prompt,
      negativePrompt: params.negative_prompt,
      steps: params.num_inference_steps,
      guidanceScale: params.guidance_scale,
      strength: params.strength,
      initImage: await file(golden, 'image'),
      mask: 'in.mask_image.0' in tensors ? await file(golden, 'mask_image') : undefined,
    });
    const { file: png, latents } = images[0]!;
    expect(relativeL2(latents!.data, tensors['out.latents']!.data)).toBeLessThanOrEqual(1e-4);
    expect(shareBeyondOneLevel(await pixels(png), tensors['out.images']!.data)).toBeLessThanOrEqual(1e-3);
    const [, height, width] = tensors['out.images']!.shape;
    expect(effective).toMatchObject({ width, height, strength: params.strength, ignored: [] });
  });
});

describe('image to image', () => {
  const asked = { model: 'tiny-sd15', prompt: 'a boat', sampler: 'euler', steps: 5, seeds: [1] };

  test('runs one step at least, and says so', async () => {
    const initImage = await file(fixtureCase('pipeline-sd15-img2img'), 'image');
    const { effective } = await engine.generate({ ...asked, initImage, strength: 0.1 });
    expect(effective).toMatchObject({
      stepsRun: 1,
      strength: 0.1,
      ignored: ['strength: 0.1 of 5 steps is less than one; one was run'],
    });
  });

  test('images with seeds of their own come out the same alone', async () => {
    const initImage = await file(fixtureCase('pipeline-sd15-img2img'), 'image');
    const request = { ...asked, initImage, width: 64, height: 64, returnLatents: true };
    const together = await engine.generate({ ...request, seeds: [1, 2] });
    const [alone] = (await engine.generate({ ...request, seeds: [2] })).images;
    expect(together.images[1]!.latents).toEqual(alone!.latents);
  });

  test('is refused by a model that cannot encode pictures', async () => {
    const initImage = await file(fixtureCase('pipeline-sd15-img2img'), 'image');
    await expect(engine.generate({ model: 'tiny-ldm-uncond', initImage })).rejects.toMatchObject({
      code: 'invalid_argument',
      field: 'init_image',
    });
  });

  test('strength without a picture is ignored', async () => {
    const { effective } = await engine.generate({ ...asked, width: 64, height: 64, strength: 0.5 });
    expect(effective.ignored).toEqual(['strength: there is no init_image']);
    expect(effective.strength).toBeUndefined();
  });
});

describe('a refiner', () => {
  const { params, tensors } = fixtureCase('pipeline-sdxl-handover');
  const asked = {
    ...{ model: 'tiny-sdxl', prompt: params.prompt, negativePrompt: params.negative_prompt },
    ...{ width: params.width, height: params.height, seeds: [params.seed] },
    steps: params.num_inference_steps,
    guidanceScale: params.guidance_scale,
    returnLatents: true,
  };
  const refined = { ...asked, refiner: 'tiny-sdxl-refiner', refinerStart: params.handover };

  test('pipeline-sdxl-handover: goes on where the base stops', async () => {
    const steps: number[][] = [];
    const { images, effective } = await engine.generate(refined, {
      onProgress: ({ step, total }) => steps.push([step, total]),
    });
    const [{ file: png, latents }] = images as [(typeof images)[0]];
    expect(relativeL2(latents!.data, tensors['out.latents']!.data)).toBeLessThanOrEqual(1e-4);
    expect(shareBeyondOneLevel(await pixels(png), tensors['out.images']!.data)).toBeLessThanOrEqual(1e-3);
    expect(effective).toMatchObject({
      stepsRun: 5,
      refiner: 'tiny-sdxl-refiner',
      refinerStart: 0.6,
      ignored: [],
    });
    expect(steps).toEqual([1, 2, 3, 4, 5].map((step) => [step, 5]));
  });

  test('takes over at the end: nothing is left to do', async () => {
    const late = await engine.generate({ ...refined, refinerStart: 1 });
    const alone = await engine.generate(asked);
    expect(late.images[0]!.latents).toEqual(alone.images[0]!.latents);
    const { effective } = await engine.generate({ ...asked, steps: 1, refinerStart: 0.5 });
    expect(effective.ignored).toEqual(['refiner_start: there is no refiner']);
  });

  test('must be there, and fit', async () => {
    const refused = (request: object) =>
      expect(engine.generate({ ...asked, steps: 1, ...request })).rejects.toMatchObject({ field: 'refiner' });
    await refused({ refiner: 'nowhere' });
    await refused({ refiner: 'tiny-ldm-uncond' });
    await refused({ refiner: 'tiny-sd15-inpaint' });
  });
});

describe('a second pass', () => {
  const asked = { model: 'tiny-sd15', prompt: 'a boat', sampler: 'euler', steps: 4, returnLatents: true };

  test('is image to image of what the first one made', async () => {
    const steps: number[][] = [];
    const first = { ...asked, seeds: [1, 2], width: 64, height: 72 };
    const { images, effective } = await engine.generate(
      { ...first, hiresScale: 1.5 },
      { onProgress: ({ step, total }) => steps.push([step, total]) },
    );
    for (const [i, { file: initImage }] of (await engine.generate(first)).images.entries()) {
      const request = { ...asked, initImage, seeds: [first.seeds[i]], strength: 0.5, width: 96, height: 112 };
      const [over] = (await engine.generate(request)).images;
      expect(images[i]!.latents).toEqual(over!.latents);
      expect((await pixels(images[i]!.file)).equals(await pixels(over!.file))).toBe(true);
      expect([images[i]!.width, images[i]!.height]).toEqual([96, 112]);
    }
    expect(effective).toMatchObject({ stepsRun: 8, hiresScale: 1.5, hiresStrength: 0.5, ignored: [] });
    expect(steps).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((step) => [step, 8]));
  });

  test('has its limits', async () => {
    const refused = (request: object) =>
      expect(engine.generate({ ...asked, ...request })).rejects.toMatchObject({ field: 'hires_scale' });
    await refused({ hiresScale: 0.5 });
    await refused({ hiresScale: 4, width: 2048 });
    const pixels = engine.generate({ ...asked, hiresScale: 2, model: 'tiny-ldm-uncond' });
    await expect(pixels).rejects.toMatchObject({ field: 'hires_upscaler' });
  });

  test('pipeline-sd15-hires-latent: of latents that are enlarged', async () => {
    const { params, tensors } = fixtureCase('pipeline-sd15-hires-latent');
    const request = {
      ...asked,
      prompt: params.prompt,
      seeds: [params.seed],
      steps: params.num_inference_steps,
      guidanceScale: params.guidance_scale,
      ...{ width: params.width, height: params.height },
      ...{ hiresScale: params.hires_scale, hiresStrength: params.hires_strength, hiresUpscaler: 'latent' },
    };
    const { images, effective } = await engine.generate(request);
    const [{ file, latents }] = images as [(typeof images)[0]];
    expect(relativeL2(latents!.data, tensors['out.latents']!.data)).toBeLessThanOrEqual(1e-4);
    expect(shareBeyondOneLevel(await pixels(file), tensors['out.images']!.data)).toBeLessThanOrEqual(1e-3);
    expect(effective).toMatchObject({ hiresUpscaler: 'latent', ignored: [] });
  });

  test('of latents, each image as if it were alone, also without an encoder', async () => {
    const request = { ...asked, steps: 2, seeds: [1, 2], hiresScale: 1.5, hiresUpscaler: 'latent-nearest' };
    const { images } = await engine.generate(request);
    const [alone] = (await engine.generate({ ...request, seeds: [2] })).images;
    expect(relativeL2(images[1]!.latents!.data, alone!.latents!.data)).toBeLessThanOrEqual(1e-6);
    const uncond = { model: 'tiny-ldm-uncond', steps: 2, seeds: [1], hiresScale: 2 };
    const [large] = (await engine.generate({ ...uncond, hiresUpscaler: 'latent' })).images;
    const [small] = (await engine.generate({ ...uncond, hiresScale: 0 })).images;
    expect(large!.width).toBe(2 * small!.width);
  });

  test('has nothing to do with an upscaler alone, or one that is not known', async () => {
    const { effective } = await engine.generate({ ...asked, steps: 1, hiresUpscaler: 'latent' });
    expect(effective.ignored).toEqual(['hires_upscaler: there is no hires_scale']);
    const unknown = engine.generate({ ...asked, hiresScale: 2, hiresUpscaler: 'esrgan' });
    await expect(unknown).rejects.toThrow('Expected one of pixel, latent, latent-bicubic,');
  });
});

describe('inpainting', () => {
  const golden = fixtureCase('pipeline-sd15-inpaint4');
  const own = async (name: string) => pixels(await file(golden, name));
  const asked = { model: 'tiny-sd15', prompt: 'a boat', sampler: 'euler', steps: 2, seeds: [1] };
  const pictures = async () => ({
    initImage: await file(golden, 'image'),
    mask: await file(golden, 'mask_image'),
  });

  /** Which pixels of two RGB pictures are the same. */
  const same = (a: Uint8Array, b: Uint8Array) =>
    Array.from({ length: a.length / 3 }, (_, i) => [0, 1, 2].every((c) => a[3 * i + c] === b[3 * i + c]));

  test.each([
    ['keep_unmasked', { keepUnmasked: true }],
    ['only_masked_padding', { onlyMaskedPadding: 8, width: 64, height: 64 }],
  ])('%s gives back what the mask leaves, byte for byte', async (_, options) => {
    const { images } = await engine.generate({ ...asked, ...(await pictures()), ...options });
    expect([images[0]!.width, images[0]!.height]).toEqual([128, 128]);
    const kept = same(await pixels(images[0]!.file), await own('image'));
    const mask = golden.tensors['in.mask_image.0']!.data;
    expect(kept.every((isSame, i) => isSame || mask[i]! > 0)).toBe(true);
    expect(kept.filter((isSame, i) => isSame && mask[i]! > 0).length).toBeLessThan(100);
  });

  test('a blurred mask fades from the one into the other', async () => {
    const options = { keepUnmasked: true, maskBlur: 4 };
    const { images } = await engine.generate({ ...asked, ...(await pictures()), ...options });
    const kept = same(await pixels(images[0]!.file), await own('image'));
    const outside = [...golden.tensors['in.mask_image.0']!.data].map((grey) => grey === 0);
    const changed = outside.filter((isOutside, i) => isOutside && !kept[i]).length;
    expect(changed).toBeGreaterThan(0);
    // The mask begins at 49, 49; twelve pixels are three standard deviations.
    expect(kept.every((isSame, i) => isSame || (i % 128 > 30 && i > 128 * 30))).toBe(true);
  });

  test('all images of a request, each by its own seed', async () => {
    for (const model of ['tiny-sd15', 'tiny-sd15-inpaint']) {
      const request = { ...asked, ...(await pictures()), model, sampler: 'euler-ancestral', strength: 0.6 };
      const together = await engine.generate({ ...request, seeds: [1, 2], returnLatents: true });
      const [alone] = (await engine.generate({ ...request, seeds: [2], returnLatents: true })).images;
      expect(together.images[1]!.latents).toEqual(alone!.latents);
    }
  });

  test('begins from the colours around the mask, noise or nothing', async () => {
    const request = { ...asked, ...(await pictures()), strength: 0.5, returnLatents: true };
    const size = { width: 128, height: 128 };
    const image = await pixels(request.initImage);
    // Of black and white alone.
    const mask = Uint8Array.from(golden.tensors['in.mask_image.0']!.data);
    expect(new Set(mask)).toEqual(new Set([0, 255]));
    const filled = fillMasked(image, mask, size);
    const initImage = await sharp(filled, { raw: { ...size, channels: 3 } })
      .png()
      .toBuffer();
    for (const model of ['tiny-sd15', 'tiny-sd15-inpaint']) {
      const made: Float32Array[] = [];
      for (const maskedContent of [undefined, 'fill', 'latent-noise', 'latent-nothing']) {
        const { images, effective } = await engine.generate({ ...request, model, maskedContent });
        expect(effective).toMatchObject({ maskedContent: maskedContent ?? 'original', ignored: [] });
        made.push(images[0]!.latents!.data);
        const { text } = (await sharp(images[0]!.file).metadata()).comments![0]!;
        const written = maskedContent && `, Masked content: ${maskedContent.replace('-', ' ')}, `;
        expect(text.includes('Masked content')).toBe(Boolean(written));
        expect(text).toContain(written ?? ', Denoising strength: 0.5, ');
        if (maskedContent !== 'fill') continue;
        // A network made for it is told of the rest of the picture, which is the same.
        const [same] = (await engine.generate({ ...request, model, initImage })).images;
        expect(made.at(-1)).toEqual(same!.latents!.data);
      }
      expect(new Set(made.map((latents) => latents.join())).size).toBe(4);
    }
  });

  test('says where there is nothing to begin from', async () => {
    const fill = { ...asked, maskedContent: 'fill' };
    const whole = await engine.generate({ ...fill, ...(await pictures()) });
    expect(whole.effective.ignored).toEqual(['masked_content: strength 1 begins from noise alone']);
    expect(whole.effective.maskedContent).toBe('original');
    const { effective } = await engine.generate({ ...fill, steps: 1, width: 64, height: 64 });
    expect(effective.ignored).toEqual(['masked_content: there is no mask']);
    const unknown = engine.generate({ ...fill, maskedContent: 'blur' });
    await expect(unknown).rejects.toMatchObject({ code: 'invalid_argument', field: 'masked_content' });
  });

  test('says what is missing, or does not fit', async () => {
    const { initImage, mask } = await pictures();
    const small = await sharp(mask).resize(64, 64).png().toBuffer();
    const refused = (request: object, field: string) =>
      expect(engine.generate({ ...asked, ...request })).rejects.toMatchObject({
        code: 'invalid_argument',
        field,
      });
    await refused({ mask }, 'init_image');
    await refused({ initImage, mask: small }, 'mask');
    await refused({ model: 'tiny-sd15-inpaint' }, 'init_image');
    await refused({ model: 'tiny-sd15-inpaint', initImage }, 'mask');
  });
});
