import { copyFile, mkdir, mkdtemp, rm, symlink, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Engine, type GenerateResult } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { ServiceError } from '../../sidecar/errors.ts';
import { fixtureLora } from '../support/adapters.ts';
import { relativeL2 } from '../support/compare.ts';
import { fixtureCase, fixtureModel } from '../support/fixtures.ts';

// Adapters applied here against adapters fused by the reference: whole runs.

const LATENTS = 1e-4;
const NAMES = ['tiny-sd15-kohya', 'tiny-sd15-peft', 'tiny-sd15-conv', 'tiny-sd15-lycoris', 'tiny-sdxl-kohya'];

let root: string;
let engine: Engine;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'latent-edge-loras-'));
  await mkdir(join(root, 'loras'));
  for (const name of NAMES) await copyFile(fixtureLora(name), join(root, 'loras', `${name}.safetensors`));
  const models = await Promise.all(['tiny-sd15', 'tiny-sdxl'].map(fixtureModel));
  engine = await Engine.open({ folders: new ModelFolders([root, ...models]), concurrency: 2 });
});
afterAll(async () => {
  await engine.dispose();
  await rm(root, { recursive: true });
});

const latents = ({ images }: GenerateResult) => images.flatMap((image) => [...image.latents!.data]);

interface LoraCase {
  model: string;
  prompt: string;
  negative_prompt: string;
  num_inference_steps: number;
  guidance_scale: number;
  width: number;
  height: number;
  seed: number;
  loras: { name: string; scale: number }[];
}

function read(name: string) {
  const { params, tensors } = fixtureCase(name);
  const p = params as LoraCase;
  const request = {
    model: p.model,
    prompt: p.prompt,
    negativePrompt: p.negative_prompt,
    steps: p.num_inference_steps,
    guidanceScale: p.guidance_scale,
    width: p.width,
    height: p.height,
    seeds: [p.seed],
    returnLatents: true,
  };
  return { request, loras: p.loras, expected: tensors['out.latents']!.data };
}

test.each([
  'pipeline-lora-sd15',
  'pipeline-lora-sd15-conv',
  'pipeline-lora-sd15-two',
  'pipeline-lora-sd15-lycoris',
  'pipeline-lora-sdxl',
])('%s', async (name) => {
  const { request, loras, expected } = read(name);
  const result = await engine.generate({ ...request, adapters: loras });
  expect(relativeL2(latents(result), expected)).toBeLessThanOrEqual(LATENTS);
  expect(result.effective.adapters).toEqual(loras);
  expect(result.effective.ignored).toEqual([]);
});

describe('tiny-sd15', () => {
  const { request, loras, expected } = read('pipeline-lora-sd15');
  const generate = async (adapters: { name: string; scale?: number }[] = [], more = {}) =>
    latents(await engine.generate({ ...request, ...more, adapters }));

  test('the same adapter as peft writes it', async () => {
    const peft = await generate([{ name: 'tiny-sd15-peft', scale: loras[0]!.scale }]);
    expect(peft).toEqual(await generate(loras));
  });

  test('nothing of an adapter is left in the next request', async () => {
    const plain = await generate();
    const adapted = await generate(loras);
    expect(relativeL2(plain, adapted)).toBeGreaterThan(0.1);
    expect(await generate()).toEqual(plain);
    await generate([{ name: 'tiny-sd15-conv', scale: 3 }]);
    expect(await generate(loras)).toEqual(adapted);
    expect(await generate()).toEqual(plain);
  });

  test('requests of different adapters at once', async () => {
    const choices = [[], loras, [{ name: 'tiny-sd15-conv', scale: 1 }], loras, []];
    const alone = [];
    for (const adapters of choices) alone.push(await generate(adapters));
    expect(await Promise.all(choices.map((adapters) => generate(adapters)))).toEqual(alone);
    expect(relativeL2(alone[1]!, expected)).toBeLessThanOrEqual(LATENTS);
  });

  test('at scale 0 it is the base bit for bit, and told to have no effect', async () => {
    const zero = loras.map(({ name }) => ({ name, scale: 0 }));
    const result = await engine.generate({ ...request, adapters: zero });
    expect(latents(result)).toEqual(await generate());
    expect(result.effective.ignored).toEqual(['adapters: tiny-sd15-kohya has a scale of 0']);
  });

  test('the base stays loaded, and takes no more memory the second time', async () => {
    const weights = () => engine.info().devices[0]!.weightsBytes;
    await generate();
    await generate(loras);
    const before = weights();
    await generate(loras);
    const models = await engine.models();
    expect(models.find(({ name }) => name === request.model)).toMatchObject({ loaded: true });
    await generate();
    expect(weights()).toBe(before);
  });

  test('more adapters than are kept take no more memory', async () => {
    const weights = () => engine.info().devices[0]!.weightsBytes;
    const scales = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7];
    const used: number[] = [];
    for (const scale of scales) {
      await generate([{ name: 'tiny-sd15-kohya', scale }], { steps: 1 });
      used.push(weights());
    }
    expect(used.at(-1)).toBe(used.at(-2));
    expect(await generate(loras)).toEqual(await generate(loras));
  });

  test('a scale of its own by default', async () => {
    expect(await generate([{ name: 'tiny-sd15-kohya' }])).toEqual(
      await generate([{ name: 'tiny-sd15-kohya', scale: 1 }]),
    );
  });

  test('a file that has changed is another adapter', async () => {
    const file = join(root, 'loras', 'changing.safetensors');
    await copyFile(fixtureLora('tiny-sd15-kohya'), file);
    const before = await generate([{ name: 'changing', scale: 0.8 }]);
    await copyFile(fixtureLora('tiny-sd15-conv'), file);
    await utimes(file, 1, 1);
    expect(await generate([{ name: 'changing', scale: 1 }])).toEqual(
      await generate([{ name: 'tiny-sd15-conv', scale: 1 }]),
    );
    expect(before).toEqual(await generate(loras));
    await rm(file);
  });
});

describe('what is refused', () => {
  const { request } = read('pipeline-lora-sd15');
  const failure = (adapters: unknown, model = request.model) =>
    engine.generate({ ...request, model, adapters }).then(
      () => undefined,
      (error: Error) => error,
    );

  test('an adapter for another model, by the first tensor that does not fit', async () => {
    const error = await failure([{ name: 'tiny-sdxl-kohya' }]);
    expect(error?.message).toMatch(
      /^Expected an adapter for this model but received lora_te2_text_model_encoder_layers_0_mlp_fc1\.lora_down\.weight, for which it has no module, in .*tiny-sdxl-kohya\.safetensors$/,
    );
    expect((await failure([{ name: 'tiny-sd15-kohya' }], 'tiny-sdxl'))?.message).toMatch(
      /^Expected an adapter for this model but received lora_unet_down_blocks_0_attentions_0_proj_in/,
    );
    expect(await failure([])).toBeUndefined();
  });

  test.each([
    'nothing',
    '../loras/tiny-sd15-kohya',
    'loras/tiny-sd15-kohya',
    '/etc/passwd',
    'tiny-sd15-kohya.safetensors',
    'linked',
    '..',
    '__proto__',
  ])('the name %j', async (name) => {
    const link = join(root, 'loras', 'linked.safetensors');
    await symlink(fixtureLora('tiny-sd15-kohya'), link).catch(() => {});
    const error = await failure([{ name }]);
    expect(error).toBeInstanceOf(ServiceError);
    expect(error).toMatchObject({ code: 'adapter_not_found', field: 'adapters' });
    const received = `Expected one of ${NAMES.toSorted().join(', ')} for adapters but received "${name}": there is`;
    expect(error!.message).toContain(`${received} no such adapter in `);
    expect(error!.message.split(' in ').at(-1)!.split(' or ')).toEqual(
      expect.arrayContaining([expect.stringContaining(join(request.model, 'loras')), join(root, 'loras')]),
    );
    await rm(link, { force: true });
  });

  test.each([
    [[{ name: '' }]],
    [[{ scale: 1 }]],
    [[{ name: 'a', scale: 101 }]],
    [[{ name: 'a', scale: Number.NaN }]],
    [[{ name: 'a\0' }]],
    [new Array(17).fill({ name: 'a' })],
    ['a'],
  ])('%j', async (adapters) => {
    expect(await failure(adapters)).toMatchObject({ code: 'invalid_argument', field: 'adapters' });
  });
});
