import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { relativeL2, shareBeyondOneLevel } from '../support/compare.ts';
import { type FixtureCase, fixtureCase, fixtureModel } from '../support/fixtures.ts';

// Runs that begin from a picture, against the reference's.

let engine: Engine;
beforeAll(async () => {
  const models = ['tiny-sd15', 'tiny-sd15-inpaint', 'tiny-ldm-uncond'];
  engine = await Engine.open({ folders: new ModelFolders(await Promise.all(models.map(fixtureModel))) });
});
afterAll(() => engine.dispose());

/** A picture of a case as a file. */
function file({ tensors }: FixtureCase, name: string): Promise<Buffer> {
  const { shape, data } = tensors[`in.${name}.0`]!;
  const [height, width, channels = 1] = shape as [number, number, 1 | 3 | undefined];
  return sharp(Uint8Array.from(data), { raw: { width, height, channels } }).png().toBuffer();
}

const pixels = (png: Buffer) => sharp(png).raw().toBuffer();

describe.each([['pipeline-sd15-img2img', 'tiny-sd15', 'euler']])('%s', (name, model, sampler) => {
  test('latents and pixels', async () => {
    const golden = fixtureCase(name);
    const { params, tensors } = golden;
    const { images, effective } = await engine.generate({
      ...{ model, sampler, prompt: params.prompt, seeds: [params.seed], returnLatents: true },
      steps: params.num_inference_steps,
      guidanceScale: params.guidance_scale,
      strength: params.strength,
      initImage: await file(golden, 'image'),
    });
    const { png, latents } = images[0]!;
    expect(relativeL2(latents!.data, tensors['out.latents']!.data)).toBeLessThanOrEqual(1e-4);
    expect(shareBeyondOneLevel(await pixels(png), tensors['out.images']!.data)).toBeLessThanOrEqual(1e-3);
    expect(effective).toMatchObject({ width: 128, height: 128, strength: params.strength, ignored: [] });
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
