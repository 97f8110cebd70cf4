import { rm } from 'node:fs/promises';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { relativeL2, shareBeyondOneLevel } from '../support/compare.ts';
import { homeWithControlNets, pictureOf } from '../support/controls.ts';
import { fixtureCase } from '../support/fixtures.ts';

// Whole runs with ControlNets, against the reference's.

let home: string;
let engine: Engine;
beforeAll(async () => {
  home = await homeWithControlNets(['tiny-sd15', 'tiny-sdxl', 'tiny-sdxl-turbo']);
  engine = await Engine.open({ folders: new ModelFolders([home]) });
});
afterAll(async () => {
  await engine.dispose();
  await rm(home, { recursive: true });
});

const SD15 = ['tiny-controlnet-sd15-canny', 'tiny-controlnet-sd15-depth'];

describe.each([
  ['pipeline-sd15-controlnet', 'tiny-sd15', 'unipc', SD15, [10, 0]],
  ['pipeline-sd15-controlnet-guess', 'tiny-sd15', 'euler', SD15, [4, 0]],
  ['pipeline-sd15-controlnet-window', 'tiny-sd15', 'euler', SD15, [4, 0]],
  ['pipeline-sd15-multicontrolnet', 'tiny-sd15', 'euler', SD15, [8, 8]],
  ['pipeline-sdxl-controlnet', 'tiny-sdxl', '', ['tiny-controlnet-sdxl-canny'], [6]],
  ['pipeline-sdxl-turbo-controlnet', 'tiny-sdxl-turbo', '', ['tiny-controlnet-sdxl-canny'], [1]],
])('%s', (name, model, sampler, nets, evaluations) => {
  test('latents, pixels, and no evaluation too many', async () => {
    const golden = fixtureCase(name);
    const { params, tensors } = golden;
    const scales = [params.controlnet_conditioning_scale ?? 1].flat() as number[];
    const before = engine.info().controlnetEvaluations;
    const { images, effective } = await engine.generate({
      ...{ model, sampler, seeds: [params.seed], returnLatents: true },
      prompt: params.prompt,
      steps: params.num_inference_steps,
      guidanceScale: params.guidance_scale,
      guessMode: params.guess_mode,
      width: params.width,
      height: params.height,
      control: await Promise.all(
        scales.map(async (scale, i) => ({
          model: nets[i],
          image: await pictureOf(golden, 'image', i),
          scale: [scale],
          start: params.control_guidance_start,
          end: params.control_guidance_end,
        })),
      ),
    });
    const { file, latents } = images[0]!;
    expect(relativeL2(latents!.data, tensors['out.latents']!.data)).toBeLessThanOrEqual(1e-4);
    const pixels = await sharp(file).raw().toBuffer();
    expect(shareBeyondOneLevel(pixels, tensors['out.images']!.data)).toBeLessThanOrEqual(1e-3);

    const expected = evaluations.slice(0, scales.length);
    expect(effective.control.map((control) => control.evaluations)).toEqual(expected);
    expect(engine.info().controlnetEvaluations - before).toBe(expected.reduce((a, b) => a + b));
    expect(effective).toMatchObject({ guessMode: params.guess_mode ?? false, ignored: [] });
    for (const [i, { unit, modelHash }] of effective.control.entries()) {
      expect(unit).toMatchObject({ model: nets[i], preprocessor: 'none', resize: 'crop', mode: 'balanced' });
      expect(unit.scale).toEqual([scales[i]]);
      expect(unit).not.toHaveProperty('image');
      expect(modelHash).toMatch(/^[0-9a-f]{64}$/);
    }
  });
});
