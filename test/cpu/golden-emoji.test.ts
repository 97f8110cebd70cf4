import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { relativeL2, shareBeyondOneLevel } from '../support/compare.ts';
import { pictureOf } from '../support/controls.ts';
import { fixtureCase } from '../support/fixtures.ts';

// The embedded models' pictures, against the reference's: what a fresh checkout shows, in the README too.

const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

let engine: Engine;
beforeAll(async () => {
  engine = await Engine.open({ folders: new ModelFolders([at('models')]) });
});
afterAll(() => engine.dispose());

interface EmojiCase {
  model: string;
  prompts: string[];
  seeds: number[];
  num_inference_steps: number[];
  guidance_scale: number;
  controlnet?: string;
}

test.each([
  // The model is the default one, and steps, guidance and size are its own.
  ['pipeline-emoji-5', () => ({})],
  [
    'pipeline-emoji-turbo',
    ({ model }: EmojiCase, i: number, steps: number[]) => ({ model, steps: steps[i] }),
  ],
  ['pipeline-emoji-control', () => ({})],
])('%s', async (name, more) => {
  const golden = fixtureCase(name);
  const params = golden.params as unknown as EmojiCase;
  const [images, latents] = [[] as Buffer[], [] as number[]];
  for (const [i, prompt] of params.prompts.entries()) {
    const control = params.controlnet
      ? [{ model: params.controlnet, image: await pictureOf(golden, 'image', i) }]
      : [];
    const asked = { prompt, seeds: [params.seeds[i]!], control, returnLatents: true };
    const made = await engine.generate({ ...asked, ...more(params, i, params.num_inference_steps) });
    expect(made.effective).toMatchObject({
      ...{ model: params.model, steps: params.num_inference_steps[i], guidanceScale: params.guidance_scale },
      ...{ width: 64, height: 64, ignored: [], notes: [] },
    });
    images.push(await sharp(made.images[0]!.file).raw().toBuffer());
    latents.push(...made.images[0]!.latents!.data);
  }
  expect(relativeL2(latents, golden.tensors['out.latents']!.data)).toBeLessThanOrEqual(1e-4);
  const pixels = golden.tensors['out.images']!.data;
  expect(shareBeyondOneLevel(Buffer.concat(images), pixels)).toBeLessThanOrEqual(1e-3);
});

test("the README's contact sheet is of these models", async () => {
  // Its first five pictures are those of pipeline-emoji-5, each pixel drawn as 2×2.
  const pixels = fixtureCase('pipeline-emoji-5').tensors['out.images']!.data;
  const sheet = sharp(at('docs/images/contact-sheet.png'));
  const tiles = [0, 1, 2, 3, 4].map((i) =>
    sheet
      .clone()
      .extract({ left: i * 128, top: 0, width: 128, height: 128 })
      .resize(64, 64, { kernel: 'nearest' })
      .removeAlpha()
      .raw()
      .toBuffer(),
  );
  expect(shareBeyondOneLevel(Buffer.concat(await Promise.all(tiles)), pixels)).toBeLessThanOrEqual(1e-3);
});
