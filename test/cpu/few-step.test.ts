import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { stepsForStrength } from '../../sidecar/engine/few-step.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { OpenModel } from '../../sidecar/engine/open-model.ts';
import { fixtureModel } from '../support/fixtures.ts';

// Models distilled to few steps: their own defaults, and what other wishes cost.

let engine: Engine;
beforeAll(async () => {
  const models = await Promise.all(['tiny-sd-turbo', 'tiny-sdxl-turbo', 'tiny-sd15'].map(fixtureModel));
  engine = await Engine.open({ folders: new ModelFolders(models) });
});
afterAll(() => engine.dispose());

const asked = { prompt: 'a red apple', width: 64, height: 64, seeds: [1], returnLatents: true };
const turbo = { ...asked, model: 'tiny-sd-turbo' };

test('one step without guidance, unless a request says otherwise', async () => {
  const { effective, images } = await engine.generate({ ...turbo, negativePrompt: 'blurry' });
  expect(effective).toMatchObject({
    ...{ steps: 1, stepsRun: 1, guidanceScale: 1, sampler: 'euler-ancestral', notes: [] },
    ignored: ['negative_prompt: guidance is off (guidance_scale 1)'],
  });
  // The reference's callers write 0.
  const off = await engine.generate({ ...turbo, guidanceScale: 0, steps: 1 });
  expect(off.images[0]!.latents).toEqual(images[0]!.latents);
  const usual = await engine.generate({ ...asked, model: 'tiny-sd15', steps: 1, sampler: 'euler' });
  expect(usual.effective).toMatchObject({ guidanceScale: 7.5, notes: [] });
});

test('guidance works, and its cost is told', async () => {
  const { effective, images } = await engine.generate({
    ...turbo,
    guidanceScale: 2,
    negativePrompt: 'blurry',
  });
  expect(effective.notes).toEqual([
    'guidance_scale: two evaluations at each step; tiny-sd-turbo was distilled to need one',
  ]);
  expect(effective.ignored).toEqual([]);
  const without = await engine.generate({ ...turbo, guidanceScale: 2 });
  expect(without.images[0]!.latents).not.toEqual(images[0]!.latents);
});

test('image to image takes as many steps as its strength leaves one of', async () => {
  const create = { width: 64, height: 64, channels: 3, background: '#804020' } as const;
  const initImage = await sharp({ create }).png().toBuffer();
  const picture = { ...turbo, width: 0, height: 0, initImage };
  for (const [strength, steps] of [
    [0.5, 2],
    [0.3, 4],
    [1, 1],
  ] as const) {
    const { effective } = await engine.generate({ ...picture, strength });
    const notes = steps > 1 ? [`steps: ${steps}, of which strength ${strength} leaves one to run`] : [];
    expect(effective).toMatchObject({ steps, stepsRun: 1, ignored: [], notes });
  }
  const { effective } = await engine.generate({ ...picture, strength: 0.5, steps: 1 });
  expect(effective.ignored).toEqual(['strength: 0.5 of 1 step is less than one; one was run']);
  expect(stepsForStrength(1, 0)).toBe(1000);
  expect(stepsForStrength(4, 0.5)).toBe(4);
});

test('a second pass too', async () => {
  const { effective } = await engine.generate({ ...turbo, hiresScale: 1.5 });
  const whole = await engine.generate({ ...turbo, hiresScale: 1.5, steps: 2 });
  expect([effective.steps, effective.stepsRun, whole.effective.stepsRun]).toEqual([1, 2, 3]);
});

test('preloading makes a picture of the default model; one for inpainting is loaded only', async () => {
  for (const [name, steps] of [
    ['tiny-sd-turbo', 1],
    ['tiny-sd15-inpaint', 0],
  ] as const) {
    const warm = await Engine.open({ folders: new ModelFolders([await fixtureModel(name)]) });
    try {
      await warm.preload();
      expect(warm.info()).toMatchObject({ stepsRun: steps, running: 0 });
      expect(await warm.models()).toMatchObject([{ name, loaded: true }]);
    } finally {
      await warm.dispose();
    }
  }
});

test('what the scheduler suggests, latent-edge.json can deny', async () => {
  const from = await fixtureModel('tiny-sdxl-turbo');
  const dir = await mkdtemp(join(tmpdir(), 'latent-edge-'));
  try {
    const index = JSON.parse(await readFile(join(from, 'model_index.json'), 'utf8')) as object;
    for (const part of Object.keys(index).filter((key) => !key.startsWith('_') && key !== 'scheduler'))
      await symlink(join(from, part), join(dir, part)).catch(() => {});
    await writeFile(join(dir, 'model_index.json'), JSON.stringify(index));
    const open = async () => {
      const { isFewStep, defaults } = await OpenModel.open({ name: 'x', dir });
      return { isFewStep, ...defaults };
    };
    const own = JSON.parse(await readFile(join(from, 'scheduler/scheduler_config.json'), 'utf8')) as object;
    const scheduler = join(dir, 'scheduler');
    await mkdir(scheduler);
    const says = (more: object) =>
      writeFile(join(scheduler, 'scheduler_config.json'), JSON.stringify({ ...own, ...more }));
    await says({});
    expect(await open()).toEqual({ isFewStep: true, steps: 1, guidanceScale: 1 });
    await writeFile(join(dir, 'latent-edge.json'), JSON.stringify({ few_step: false }));
    expect(await open()).toEqual({ isFewStep: false, steps: 50, guidanceScale: 5 });
    await rm(join(dir, 'latent-edge.json'));
    for (const other of [
      { timestep_spacing: 'leading' },
      { prediction_type: 'v_prediction' },
      { rescale_betas_zero_snr: true },
      { _class_name: 'DDIMScheduler' },
    ]) {
      await says(other);
      expect(await open()).toMatchObject({ isFewStep: false });
    }
  } finally {
    await rm(dir, { recursive: true });
  }
});
