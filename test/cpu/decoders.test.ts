import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine, type Progress } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { relativeL2, shareBeyondOneLevel } from '../support/compare.ts';
import { fixtureCase, fixtureModel } from '../support/fixtures.ts';

// AutoencoderTinys and colours in place of a model's own decoder.

let root: string;
let engine: Engine;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'latent-edge-decoders-'));
  for (const name of ['tiny-sd15', 'tiny-sdxl', 'tiny-ldm-uncond', 'tiny-taesd'])
    await symlink(await fixtureModel(name), join(root, name));
  await mkdir(join(root, 'other'));
  engine = await Engine.open({ folders: new ModelFolders([root]) });
});
afterAll(async () => {
  await engine.dispose();
  await rm(root, { recursive: true });
});

const pixels = async (file: Buffer) => sharp(file).raw().toBuffer();

describe.each(['sd15', 'sdxl'])('pipeline-%s-taesd', (name) => {
  const { params: p, tensors } = fixtureCase(`pipeline-${name}-taesd`);
  const asked = {
    ...{ model: `tiny-${name}`, prompt: p.prompt, seeds: [p.seed], sampler: 'euler' },
    ...{ steps: p.num_inference_steps, guidanceScale: p.guidance_scale },
    ...{ width: p.width, height: p.height, returnLatents: true },
  };

  test('is what a pipeline makes that has it for its autoencoder', async () => {
    const { images, effective } = await engine.generate({ ...asked, decoder: 'tiny-taesd' });
    const [{ file, latents }] = images as [(typeof images)[0]];
    expect(relativeL2(latents!.data, tensors['out.latents']!.data)).toBeLessThanOrEqual(1e-4);
    expect(shareBeyondOneLevel(await pixels(file), tensors['out.images']!.data)).toBeLessThanOrEqual(1e-3);
    expect(effective).toMatchObject({ decoder: 'tiny-taesd', ignored: [], notes: [] });
  });
});

const asked = { model: 'tiny-sd15', prompt: 'a boat', sampler: 'euler', steps: 2, seeds: [1] };

describe('previews', () => {
  const previewOf = async (request: object) => {
    const seen: Progress[] = [];
    await engine.generate(
      { ...asked, previewInterval: 1, ...request },
      { onProgress: (step) => seen.push(step) },
    );
    return seen[0]!.previews[0]!;
  };

  test('are made by a tiny autoencoder that is there, by its name for those latents', async () => {
    const named = await previewOf({ previewDecoder: 'tiny-taesd' });
    expect((await previewOf({})).file).toEqual(named.file);
    expect((await previewOf({ previewDecoder: 'model' })).file).not.toEqual(named.file);
    expect((await previewOf({ previewDecoder: 'linear' })).file).not.toEqual(named.file);
  });

  test('of latents that it is not named for: colours', async () => {
    const xl = { model: 'tiny-sdxl', guidanceScale: 1 };
    expect((await previewOf(xl)).file).toEqual((await previewOf({ ...xl, previewDecoder: 'linear' })).file);
  });

  test('by the decoder of the pictures, where that is a tiny one', async () => {
    const xl = { model: 'tiny-sdxl', guidanceScale: 1 };
    const own = await previewOf({ ...xl, previewDecoder: 'tiny-taesd' });
    expect((await previewOf({ ...xl, decoder: 'tiny-taesd' })).file).toEqual(own.file);
  });

  test('of latents that nothing is known of: by the model', async () => {
    const uncond = { model: 'tiny-ldm-uncond', prompt: '', sampler: 'ddim' };
    const own = await previewOf({ ...uncond, previewDecoder: 'model' });
    expect((await previewOf(uncond)).file).toEqual(own.file);
    await expect(previewOf({ ...uncond, previewDecoder: 'linear' })).rejects.toMatchObject({
      field: 'preview_decoder',
      message: expect.stringContaining("as the colours of tiny-ldm-uncond's latents are not known"),
    });
  });

  test('are as large as the picture, whatever makes them', async () => {
    for (const previewDecoder of ['model', 'linear', 'tiny-taesd'])
      expect(await previewOf({ previewDecoder, width: 64, height: 72 })).toMatchObject({
        width: 64,
        height: 72,
      });
  });
});

describe('what cannot be had is refused before the work', () => {
  test('a name that is not there', async () => {
    await expect(engine.generate({ ...asked, decoder: 'nowhere' })).rejects.toMatchObject({
      code: 'model_not_found',
      field: 'decoder',
      message: expect.stringContaining('Expected one of model, tiny-taesd for decoder'),
    });
    await expect(engine.generate({ ...asked, decoder: 'tiny-sd15' })).rejects.toMatchObject({
      code: 'model_not_found',
    });
    await expect(engine.generate({ ...asked, previewDecoder: '../x' })).rejects.toMatchObject({
      field: 'preview_decoder',
      message: expect.stringContaining('Expected one of model, linear, tiny-taesd'),
    });
  });

  test('one for other latents', async () => {
    const uncond = { model: 'tiny-ldm-uncond', steps: 1, decoder: 'tiny-taesd' };
    await expect(engine.generate(uncond)).rejects.toMatchObject({
      code: 'invalid_argument',
      field: 'decoder',
      message: expect.stringMatching(
        /^Expected an autoencoder of \d channels of latents at 1\/\d, as tiny-ldm-uncond has, for decoder but received tiny-taesd, of 4 channels of latents at 1\/8$/,
      ),
    });
  });

  test('one that is damaged', async () => {
    const damaged = join(root, 'damaged-xl');
    await cp(await fixtureModel('tiny-taesd'), damaged, { recursive: true });
    await writeFile(join(damaged, 'diffusion_pytorch_model.safetensors'), 'x');
    const refused = engine.generate({ ...asked, decoder: 'damaged-xl' });
    await expect(refused).rejects.toThrow('diffusion_pytorch_model.safetensors');
    expect(await namesOf('autoencoder')).toEqual(['tiny-taesd']);
    await rm(damaged, { recursive: true });
  });

  test('a preview decoder without previews has no effect', async () => {
    const { effective } = await engine.generate({ ...asked, steps: 1, previewDecoder: 'linear' });
    expect(effective).toMatchObject({
      decoder: 'model',
      ignored: ['preview_decoder: there are no previews'],
    });
  });
});

const namesOf = async (kind: string) =>
  (await engine.models()).filter((model) => model.kind === kind).map(({ name }) => name);

test('listings have both kinds', async () => {
  expect(await namesOf('latent-diffusion')).toEqual(['tiny-ldm-uncond', 'tiny-sd15', 'tiny-sdxl']);
  const [tiny, ...others] = (await engine.models()).filter(({ kind }) => kind === 'autoencoder');
  const file = await readFile(join(await fixtureModel('tiny-taesd'), 'diffusion_pytorch_model.safetensors'));
  expect(others).toEqual([]);
  expect(tiny).toMatchObject({
    ...{ name: 'tiny-taesd', family: 'taesd', bytes: file.length, isDefault: false },
    loaded: true,
  });
});

test('one can be named by its folder', async () => {
  const dir = await fixtureModel('tiny-taesd');
  const alone = await Engine.open({
    folders: new ModelFolders([await fixtureModel('tiny-sd15')]),
    decoderFiles: new Map([['mine', dir]]),
  });
  const own = await alone.generate({ ...asked, decoder: 'mine' });
  const listed = await engine.generate({ ...asked, decoder: 'tiny-taesd' });
  await alone.dispose();
  expect(await pixels(own.images[0]!.file)).toEqual(await pixels(listed.images[0]!.file));
});
