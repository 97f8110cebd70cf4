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
  home = await homeWithControlNets(['tiny-sd15', 'tiny-sd15-inpaint', 'tiny-sdxl', 'tiny-sdxl-turbo']);
  engine = await Engine.open({ folders: new ModelFolders([home]) });
});
afterAll(async () => {
  await engine.dispose();
  await rm(home, { recursive: true });
});

const XL = ['tiny-controlnet-sdxl-canny'];
const SD15 = ['tiny-controlnet-sd15-canny', 'tiny-controlnet-sd15-depth'];

describe.each([
  ['pipeline-sd15-controlnet', 'tiny-sd15', 'unipc', SD15, [10, 0]],
  ['pipeline-sd15-controlnet-guess', 'tiny-sd15', 'euler', SD15, [4, 0]],
  ['pipeline-sd15-controlnet-window', 'tiny-sd15', 'euler', SD15, [4, 0]],
  ['pipeline-sd15-multicontrolnet', 'tiny-sd15', 'euler', SD15, [8, 8]],
  ['pipeline-sdxl-controlnet', 'tiny-sdxl', '', XL, [6]],
  ['pipeline-sdxl-turbo-controlnet', 'tiny-sdxl-turbo', '', XL, [1]],
  // Of six steps four are run; the first ControlNet has a part in two of them, the other in the two after.
  ['pipeline-control-img2img', 'tiny-sd15', 'euler', SD15, [4, 4]],
  ['pipeline-control-inpaint4', 'tiny-sd15', 'ddim', SD15, [3]],
  ['pipeline-control-inpaint9', 'tiny-sd15-inpaint', 'ddim', SD15, [6]],
  ['pipeline-control-sdxl-guess', 'tiny-sdxl', '', XL, [4]],
])('%s', (name, model, sampler, nets, evaluations) => {
  test('latents, pixels, and no evaluation too many', async () => {
    const golden = fixtureCase(name);
    const { params, tensors } = golden;
    const scales = [params.controlnet_conditioning_scale ?? 1].flat() as number[];
    const hints = 'in.control_image.0' in tensors ? 'control_image' : 'image';
    const each = (value: number | number[] | undefined, i: number) =>
      [value].flat().at(i) ?? [value].flat()[0];
    const before = engine.info().controlnetEvaluations;
    const { images, effective } = await engine.generate({
      ...{ model, sampler, seeds: [params.seed], returnLatents: true },
      prompt: params.prompt,
      negativePrompt: params.negative_prompt,
      count: params.num_images_per_prompt,
      strength: params.strength,
      initImage: hints === 'image' ? undefined : await pictureOf(golden, 'image'),
      mask: 'in.mask_image.0' in tensors ? await pictureOf(golden, 'mask_image') : undefined,
      steps: params.num_inference_steps,
      guidanceScale: params.guidance_scale,
      guessMode: params.guess_mode,
      width: params.width,
      height: params.height,
      control: await Promise.all(
        scales.map(async (scale, i) => ({
          model: nets[i],
          image: await pictureOf(golden, hints, i),
          scale: [scale],
          start: each(params.control_guidance_start, i),
          end: each(params.control_guidance_end, i),
        })),
      ),
    });
    const latents = images.flatMap((image) => [...image.latents!.data]);
    expect(relativeL2(latents, tensors['out.latents']!.data)).toBeLessThanOrEqual(1e-4);
    const pixels = await Promise.all(images.map(({ file }) => sharp(file).raw().toBuffer()));
    expect(shareBeyondOneLevel(Buffer.concat(pixels), tensors['out.images']!.data)).toBeLessThanOrEqual(1e-3);

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
