import sharp from 'sharp';
import { afterAll, describe, expect, test } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { relativeL2, shareBeyondOneLevel } from '../support/compare.ts';
import { fixtureCase, fixtureModel } from '../support/fixtures.ts';

// Whole runs against the reference's: what a user types, and what comes out.

const LATENTS = 1e-4;
const PIXELS_BEYOND_ONE_LEVEL = 1e-3;

const engines = new Map<string, Promise<Engine>>();
const engineOf = (dir: string) => {
  const engine = engines.get(dir) ?? Engine.open({ folders: new ModelFolders([dir]) });
  engines.set(dir, engine);
  return engine;
};
afterAll(async () => {
  for (const engine of engines.values()) await (await engine).dispose();
});

interface PipelineCase {
  prompt: string;
  negative_prompt?: string;
  num_inference_steps: number;
  guidance_scale: number;
  guidance_rescale?: number;
  num_images_per_prompt?: number;
  width: number;
  height: number;
  clip_skip?: number;
  /** Height before width. */
  original_size?: [number, number];
  crops_coords_top_left?: [number, number];
  target_size?: [number, number];
}

const request = (p: PipelineCase) => ({
  prompt: p.prompt,
  negativePrompt: p.negative_prompt,
  steps: p.num_inference_steps,
  guidanceScale: p.guidance_scale,
  guidanceRescale: p.guidance_rescale,
  count: p.num_images_per_prompt,
  width: p.width,
  height: p.height,
  clipSkip: p.clip_skip,
  sizeConditioning: p.original_size && {
    originalHeight: p.original_size[0],
    originalWidth: p.original_size[1],
    cropTop: p.crops_coords_top_left![0],
    cropLeft: p.crops_coords_top_left![1],
    targetHeight: p.target_size![0],
    targetWidth: p.target_size![1],
  },
  returnLatents: true,
});

async function rgb(images: { file: Buffer }[]): Promise<Buffer> {
  return Buffer.concat(await Promise.all(images.map(({ file }) => sharp(file).raw().toBuffer())));
}

describe.each([
  ['pipeline-sd15-default', 'tiny-sd15', {}],
  ['pipeline-sd15-euler-batch', 'tiny-sd15', { sampler: 'euler' }],
  ['pipeline-sd15-euler-a', 'tiny-sd15', { sampler: 'Euler a' }],
  ['pipeline-sd15-dpmpp-2m-karras', 'tiny-sd15', { sampler: 'dpmpp-2m', schedule: 'karras' }],
  ['pipeline-sd15-nocfg', 'tiny-sd15', { sampler: 'ddim' }],
  ['pipeline-sd15-rescale', 'tiny-sd15', { sampler: 'ddim' }],
  ['pipeline-sd21-v', 'tiny-sd21-v', {}],
  ['pipeline-sd-turbo-1step', 'tiny-sd-turbo', {}],
  ['pipeline-sd-turbo-2step', 'tiny-sd-turbo', {}],
  ['pipeline-sd-turbo-4step', 'tiny-sd-turbo', {}],
  ['pipeline-sd-turbo-guided', 'tiny-sd-turbo', {}],
  ['pipeline-sdxl', 'tiny-sdxl', {}],
  ['pipeline-sdxl-empty-negative', 'tiny-sdxl', {}],
  ['pipeline-sdxl-sizes', 'tiny-sdxl', {}],
  ['pipeline-sdxl-turbo-1step', 'tiny-sdxl-turbo', {}],
  ['pipeline-sdxl-turbo-2step', 'tiny-sdxl-turbo', {}],
  ['pipeline-sdxl-turbo-guided', 'tiny-sdxl-turbo', {}],
])('%s', (name, model, sampler) => {
  test('latents and pixels', async () => {
    const { params, tensors } = fixtureCase(name);
    const engine = await engineOf(await fixtureModel(model));
    const asked = { ...request(params as PipelineCase), ...sampler, seeds: [params.seed] };
    const { images, effective } = await engine.generate(asked);
    const latents = images.flatMap((image) => [...image.latents!.data]);
    expect([images.length, ...images[0]!.latents!.shape]).toEqual(tensors['out.latents']!.shape);
    expect(relativeL2(latents, tensors['out.latents']!.data)).toBeLessThanOrEqual(LATENTS);
    expect(shareBeyondOneLevel(await rgb(images), tensors['out.images']!.data)).toBeLessThanOrEqual(
      PIXELS_BEYOND_ONE_LEVEL,
    );
    expect(effective).toMatchObject({ steps: params.num_inference_steps, seeds: [params.seed] });
    expect(effective.modelHash).toMatch(/^[0-9a-f]{64}$/);
  });
});

test('pipeline-ldm-uncond: no prompt, and one that is sent changes nothing', async () => {
  const { params, tensors } = fixtureCase('pipeline-ldm-uncond');
  const engine = await engineOf(await fixtureModel('tiny-ldm-uncond'));
  const asked = { steps: params.num_inference_steps, count: params.batch_size, seeds: [params.seed] };
  const { images, effective, textTokens } = await engine.generate(asked);
  const pixels = await rgb(images);
  expect(shareBeyondOneLevel(pixels, tensors['out.images']!.data)).toBeLessThanOrEqual(
    PIXELS_BEYOND_ONE_LEVEL,
  );
  expect(effective).toMatchObject({ prompt: '', guidanceScale: 1, sampler: 'ddim', eta: 0, ignored: [] });
  expect(textTokens).toBe(0);
  const told = await engine.generate({
    ...asked,
    prompt: 'a boat',
    negativePrompt: 'a ship',
    guidanceScale: 3,
  });
  expect(pixels.equals(await rgb(told.images))).toBe(true);
  expect(told.effective.ignored).toEqual([
    'prompt: tiny-ldm-uncond takes no text',
    'negative_prompt: tiny-ldm-uncond takes no text',
    'guidance_scale: tiny-ldm-uncond takes no text',
  ]);
});

test('Stable Diffusion XL is told sizes; a model that takes text wants some', async () => {
  const engine = await engineOf(await fixtureModel('tiny-sdxl'));
  const asked = { prompt: 'a boat', steps: 1, width: 64, height: 72, seeds: [1] };
  const plain = await engine.generate(asked);
  const own = { originalWidth: 64, originalHeight: 72, targetWidth: 64, targetHeight: 72 };
  expect(plain.effective.sizeConditioning).toEqual({ ...own, cropLeft: 0, cropTop: 0 });
  const cropped = await engine.generate({ ...asked, sizeConditioning: { cropLeft: 200, originalWidth: 0 } });
  expect(cropped.effective.sizeConditioning).toEqual({ ...own, cropLeft: 200, cropTop: 0 });
  expect((await rgb(cropped.images)).equals(await rgb(plain.images))).toBe(false);
  await expect(engine.generate({ seeds: [1] })).rejects.toMatchObject({ field: 'prompt' });
});

test('images with seeds of their own come out the same alone', async () => {
  const engine = await engineOf(await fixtureModel('tiny-sd15'));
  const asked = {
    prompt: 'a boat',
    steps: 3,
    sampler: 'euler-ancestral',
    width: 64,
    height: 72,
    returnLatents: true,
  };
  const together = await engine.generate({ ...asked, seeds: [5, 6, 7] });
  for (const { seed, index, file, latents } of together.images) {
    const [alone] = (await engine.generate({ ...asked, seeds: [seed] })).images;
    expect(index).toBe(0);
    expect([...alone!.latents!.data]).toEqual([...latents!.data]);
    expect((await rgb([alone!])).equals(await rgb([{ file }]))).toBe(true);
  }
});

test('images come out the same however many runs a step is split into', async () => {
  const engine = await engineOf(await fixtureModel('tiny-sd15'));
  const asked = {
    prompt: 'a boat',
    steps: 1,
    sampler: 'euler',
    width: 512,
    height: 512,
    returnLatents: true,
  };
  const { images } = await engine.generate({ ...asked, seeds: [9], count: 3 });
  expect(images.map(({ seed, index }) => [seed, index])).toEqual([
    [9, 0],
    [9, 1],
    [9, 2],
  ]);
  // The generator begins with the first image.
  const [alone] = (await engine.generate({ ...asked, seeds: [9] })).images;
  expect(alone!.latents!.data).toEqual(images[0]!.latents!.data);
  expect(new Set(images.map(({ file }) => file.toString('base64'))).size).toBe(3);
});
