import { cp, mkdir, mkdtemp, readFile, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CheckpointError } from '../../sidecar/checkpoints/error.ts';
import { locateTensors, openFolder } from '../../sidecar/checkpoints/folder.ts';
import { modelHash } from '../../sidecar/checkpoints/hash.ts';
import { canonicalKey } from '../../sidecar/checkpoints/keys.ts';
import { checkWeights, weightSources } from '../../sidecar/checkpoints/weights.ts';
import { writeSafetensors } from '../../sidecar/checkpoints/write.ts';
import {
  defaultSize,
  openAnyCheckpoint,
  openCheckpoint,
  openComponent,
  openPart,
  type UnconditionalCheckpoint,
  type XLCheckpoint,
} from '../../sidecar/models/components.ts';
import { fixtureModel } from '../support/fixtures.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'latent-edge-'));
});
afterEach(() => rm(dir, { recursive: true }));

const zeros = (...shape: number[]) => ({ shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) });
const write = (name: string, ...tensors: string[]) =>
  writeSafetensors(join(dir, name), Object.fromEntries(tensors.map((tensor) => [tensor, zeros(2)])));
const json = (name: string, value: unknown) => writeFile(join(dir, name), JSON.stringify(value));
const found = async (variant?: string) => (await locateTensors(dir, { variant })).map(({ name }) => name);

const edit = async (file: string, changes: object) =>
  json(file, { ...JSON.parse(await readFile(join(dir, file), 'utf8')), ...changes });

async function failure(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => new Error('nothing was refused'),
    (e) => e,
  );
  expect(error).toBeInstanceOf(CheckpointError);
  return error.message;
}

describe('which file', () => {
  test('the plain one, unless a variant is asked for', async () => {
    await write('diffusion_pytorch_model.safetensors', 'plain');
    await write('diffusion_pytorch_model.fp16.safetensors', 'half');
    await write('diffusion_pytorch_model.non_ema.safetensors', 'non_ema');
    expect(await found()).toEqual(['plain']);
    expect(await found('fp16')).toEqual(['half']);
    expect(await found('non_ema')).toEqual(['non_ema']);
    expect(await found('bf16')).toEqual(['plain']);
  });

  test('the only one, whatever it is called', async () => {
    await write('model.fp16.safetensors', 'half');
    expect(await found()).toEqual(['half']);
    expect(await failure(found('bf16'))).toContain(
      `Expected a .bf16.safetensors file in ${dir} but found model.fp16`,
    );
  });

  test('other files are none of ours', async () => {
    await write('adapter.safetensors', 'x');
    await write('my-model.safetensors', 'x');
    expect(await failure(found())).toContain('Expected a .safetensors file');
  });

  test.each(['diffusion_pytorch_model.bin', 'pytorch_model.bin', 'model.ckpt'])(
    '%s: no pickle',
    async (name) => {
      await writeFile(join(dir, name), 'x');
      expect(await failure(found())).toBe(
        `Expected safetensors but received ${join(dir, name)}: pickle is not supported; convert to safetensors`,
      );
    },
  );

  test('a pickle that was renamed', async () => {
    await writeFile(join(dir, 'model.safetensors'), Buffer.from('\x80\x02}q\x00X\x05\x00\x00\x00', 'latin1'));
    expect(await failure(found())).toContain('received a pickle');
  });
});

describe('shards', () => {
  const index = (weight_map: unknown, name = 'model.safetensors.index.json') =>
    json(name, { metadata: {}, weight_map });

  test('are read together', async () => {
    await write('model-00001-of-00002.safetensors', 'a', 'b');
    await write('model-00002-of-00002.safetensors', 'c');
    await index({
      a: 'model-00001-of-00002.safetensors',
      b: 'model-00001-of-00002.safetensors',
      c: 'model-00002-of-00002.safetensors',
    });
    expect(await found()).toEqual(['a', 'b', 'c']);
    expect(await found('fp16')).toEqual(['a', 'b', 'c']);
  });

  test('of a variant have an index of their own', async () => {
    await write('model.fp16-00001-of-00001.safetensors', 'a');
    await index({ a: 'model.fp16-00001-of-00001.safetensors' }, 'model.safetensors.index.fp16.json');
    expect(await found('fp16')).toEqual(['a']);
  });

  test.each([
    '../../etc/passwd',
    '/etc/passwd',
    '../model.safetensors',
    '/elsewhere/model.safetensors',
    'a/../model.safetensors',
    '..\\model.safetensors',
    'model.safetensors\0',
    '..',
    '',
    'model.bin',
  ])('an index may not name %j', async (shard) => {
    await index({ a: shard });
    const message = await failure(found());
    expect(message).toContain(
      `Expected safetensors files beside the index but received ${JSON.stringify(shard)}`,
    );
    expect(message).toContain('model.safetensors.index.json');
  });

  test('an index must tell the truth', async () => {
    await write('model-00001-of-00001.safetensors', 'a');
    await index({ a: 'model-00001-of-00001.safetensors', b: 'model-00001-of-00001.safetensors' });
    expect(await failure(found())).toContain('Expected b in model-00001-of-00001.safetensors');
    await index({ a: 'model-00002-of-00002.safetensors' });
    expect(await failure(found())).toContain('there is no such file');
    await index({ a: 7 });
    expect(await failure(found())).toContain('Expected weight_map of names to files');
    await index(Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`${i}`, `${i}.safetensors`])));
    expect(await failure(found())).toContain('Expected at most 1000 shards but received 1001');
    await writeFile(join(dir, 'model.safetensors.index.json'), '{');
    expect(await failure(found())).toContain('model.safetensors.index.json');
  });
});

describe('names', () => {
  test.each([
    ['text_encoder', 'text_model.encoder.layers.0.mlp.fc1.weight', 'encoder.layers.0.mlp.fc1.weight'],
    ['text_encoder', 'encoder.layers.0.mlp.fc1.weight', 'encoder.layers.0.mlp.fc1.weight'],
    ['text_encoder', 'text_model.embeddings.position_ids', undefined],
    ['text_encoder', 'vision_model.post_layernorm.weight', undefined],
    ['text_encoder', 'logit_scale', undefined],
    ['text_encoder', 'text_projection.weight', undefined],
    ['text_encoder_2', 'text_projection.weight', 'text_projection.weight'],
    ['text_encoder_2', 'text_model.final_layer_norm.bias', 'final_layer_norm.bias'],
    ['text_encoder_2', 'text_model.embeddings.position_ids', undefined],
    ['vae', 'encoder.mid_block.attentions.0.query.weight', 'encoder.mid_block.attentions.0.to_q.weight'],
    ['vae', 'decoder.mid_block.attentions.0.proj_attn.bias', 'decoder.mid_block.attentions.0.to_out.0.bias'],
    [
      'vae',
      'decoder.mid_block.attentions.0.group_norm.bias',
      'decoder.mid_block.attentions.0.group_norm.bias',
    ],
    ['vqvae', 'decoder.mid_block.attentions.0.key.bias', 'decoder.mid_block.attentions.0.to_k.bias'],
    [
      'unconditional_unet',
      'down_blocks.1.attentions.0.proj_attn.bias',
      'down_blocks.1.attentions.0.to_out.0.bias',
    ],
    ['unet', 'conv_in.weight', 'conv_in.weight'],
  ] as const)('%s: %s', (part, key, expected) => {
    expect(canonicalKey(part, key)).toBe(expected);
  });

  test('one tensor under two names', async () => {
    await write('model.safetensors', 'text_model.final_layer_norm.bias', 'final_layer_norm.bias');
    expect(await failure(weightSources(dir, 'text_encoder'))).toContain(
      'Expected final_layer_norm.bias once',
    );
  });

  test('integers are no weights', async () => {
    await writeSafetensors(join(dir, 'model.safetensors'), { a: { shape: [1], data: Int32Array.of(1) } });
    expect(await failure(weightSources(dir, 'unet'))).toContain(
      'Expected F32, F16 or BF16 for a but received I32',
    );
  });
});

describe('tensors and parameters', () => {
  const params = new Map([
    ['a', [4, 3]],
    ['b', [4]],
  ]);
  const source = (name: string, shape: number[]) => ({
    name,
    dtype: 'F16' as const,
    shape,
    file: 'f',
    offset: 0,
  });
  const check = (...sources: ReturnType<typeof source>[]) => checkWeights(params, sources, 'model/unet');

  test('trailing ones are equal to none', () => {
    expect(() => check(source('a', [4, 3, 1, 1]), source('b', [4]))).not.toThrow();
  });

  test.each([
    [[source('b', [4])], 'Expected the tensors a but found none, in model/unet'],
    [[source('c', [4, 3]), source('b', [4])], 'Expected the tensors a but received c instead, in model/unet'],
    [
      [source('a', [4, 3]), source('b', [4]), source('c', [1])],
      'than the config asks for but received c, in model/unet',
    ],
    [[source('a', [3, 4]), source('b', [4])], 'Expected [4, 3] for a but received [3, 4], in model/unet'],
    [[source('a', [4, 1, 3]), source('b', [4])], 'Expected [4, 3] for a but received [4, 1, 3]'],
    [[source('a', [1, 4, 3]), source('b', [4])], 'Expected [4, 3] for a but received [1, 4, 3]'],
  ])('%o', (sources, message) => {
    expect(() => check(...sources)).toThrow(message);
  });

  test('the first few are named', () => {
    const many = new Map(Array.from({ length: 10 }, (_, i) => [`p${i}`, [1]]));
    expect(() => checkWeights(many, [], 'x')).toThrow(
      'Expected the tensors p0, p1, p2 and 7 more but found none',
    );
  });
});

describe('model_index.json', () => {
  test('lists components; null ones are left out', async () => {
    await json('model_index.json', {
      _class_name: 'StableDiffusionPipeline',
      _diffusers_version: '0.6.0',
      requires_safety_checker: true,
      safety_checker: [null, null],
      unet: ['diffusers', 'UNet2DConditionModel'],
    });
    const folder = await openFolder(dir);
    expect(folder).toMatchObject({ dir, pipeline: 'StableDiffusionPipeline' });
    expect([...folder.components]).toEqual([['unet', 'UNet2DConditionModel']]);
    expect(await failure(openComponent(folder, 'vae'))).toContain(
      'Expected AutoencoderKL for vae but received none',
    );
    expect(await failure(openComponent(folder, 'unet'))).toContain('Expected a folder but received');
    await writeFile(join(dir, 'unet'), '../elsewhere');
    expect(await failure(openComponent(folder, 'unet'))).toContain(`received the file ${join(dir, 'unet')}`);
  });

  test('no folder, a file, nothing in it, nothing of ours in it', async () => {
    expect(await failure(openFolder(join(dir, 'none')))).toContain('which does not exist');
    expect(await failure(openFolder(dir))).toBe(
      `Expected a model in diffusers layout but found no model_index.json in ${dir}`,
    );
    await json('model_index.json', {});
    expect(await failure(openFolder(dir))).toContain('Expected _class_name');
    await json('model_index.json', []);
    expect(await failure(openFolder(dir))).toContain('Expected _class_name');
    await writeFile(join(dir, 'model_index.json'), 'x');
    expect(await failure(openFolder(dir))).toContain('model_index.json');
    expect(await failure(openFolder(join(dir, 'model_index.json')))).toContain(
      'Expected a folder but received the file',
    );
  });
});

describe('checkpoints', () => {
  test.each([
    ['tiny-sd15', 'sd1'],
    ['tiny-sd21-v', 'sd2'],
  ])('%s', async (name, family) => {
    const checkpoint = await openCheckpoint(await fixtureModel(name));
    expect(checkpoint.family).toBe(family);
    expect(defaultSize(checkpoint)).toEqual({ width: 128, height: 128 });
    expect(checkpoint.unet.parameters).toBe(3_222_692);
    const names = checkpoint.vae.sources.map((source) => source.name);
    expect(names).toContain('decoder.mid_block.attentions.0.to_out.0.weight');
    expect(checkpoint.text_encoder.sources.map((source) => source.name)).toContain('final_layer_norm.weight');
  });

  test('tiny-sd15-inpaint: nine channels in, four out', async () => {
    const checkpoint = await openCheckpoint(await fixtureModel('tiny-sd15-inpaint'));
    expect(checkpoint.unet.config).toMatchObject({ in_channels: 9, out_channels: 4 });
    expect(checkpoint.folder.pipeline).toBe('StableDiffusionInpaintPipeline');
  });

  test('tiny-sdxl: two text encoders, and what the index says of empty prompts', async () => {
    const checkpoint = (await openAnyCheckpoint(await fixtureModel('tiny-sdxl'))) as XLCheckpoint;
    expect(checkpoint).toMatchObject({
      kind: 'text-to-image-xl',
      timeIds: 6,
      forceZerosForEmptyPrompt: true,
    });
    expect(checkpoint.text_encoder_2.config.projection).toBe(48);
    expect(defaultSize(checkpoint)).toEqual({ width: 128, height: 128 });
    const turbo = (await openAnyCheckpoint(await fixtureModel('tiny-sdxl-turbo'))) as XLCheckpoint;
    expect(turbo.unet.sources).toHaveLength(checkpoint.unet.sources.length);
    expect((await openAnyCheckpoint(await fixtureModel('tiny-sd15'))).kind).toBe('text-to-image');
  });

  test('tiny-ldm-uncond: no prompt', async () => {
    const model = await fixtureModel('tiny-ldm-uncond');
    const checkpoint = (await openAnyCheckpoint(model)) as UnconditionalCheckpoint;
    expect(checkpoint).toMatchObject({ kind: 'unconditional', folder: { pipeline: 'LDMPipeline' } });
    expect(defaultSize(checkpoint)).toEqual({ width: 64, height: 64 });
    expect(await failure(openCheckpoint(model))).toContain('Expected CLIPTextModel for text_encoder');
    await cp(model, dir, { recursive: true });
    await edit('vqvae/config.json', { vq_embed_dim: 4 });
    expect(await failure(openAnyCheckpoint(dir))).toContain('Expected [4, 3, 1, 1] for quant_conv.weight');
    await edit('model_index.json', { unet: ['diffusers', 'UNet2DConditionModel'] });
    expect(await failure(openAnyCheckpoint(dir))).toContain('Expected UNet2DModel for unet but received');
  });

  test('tiny-taesd: a part that stands alone', async () => {
    const taesd = await openPart(await fixtureModel('tiny-taesd'), 'taesd');
    expect(taesd.config.latent_channels).toBe(4);
    expect(taesd.parameters).toBe(
      taesd.sources.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b), 0),
    );
    expect(await failure(openPart(await fixtureModel('tiny-sd15'), 'taesd'))).toContain('config.json');
    await cp(await fixtureModel('tiny-taesd'), dir, { recursive: true });
    await edit('config.json', { _class_name: 'AutoencoderKL' });
    expect(await failure(openPart(dir, 'taesd'))).toContain('Expected "AutoencoderTiny" for _class_name');
  });

  test('a refiner has the second text encoder alone, and 5 sizes', async () => {
    await cp(await fixtureModel('tiny-sdxl'), dir, { recursive: true });
    await edit('model_index.json', { force_zeros_for_empty_prompt: false });
    expect(await openAnyCheckpoint(dir)).toMatchObject({ forceZerosForEmptyPrompt: false });
    await edit('model_index.json', { text_encoder: [null, null] });
    expect(await failure(openAnyCheckpoint(dir))).toContain(
      "Expected 64 for the text encoders' hidden_size together but received 32",
    );
    expect(await failure(openCheckpoint(dir))).toContain('Expected CLIPTextModel for text_encoder');
    await edit('model_index.json', { text_encoder: ['transformers', 'CLIPTextModel'] });
    await edit('unet/config.json', { addition_time_embed_dim: 12 });
    expect(await failure(openAnyCheckpoint(dir))).toContain('5 or 6 sizes but received 8 sizes');
    await edit('unet/config.json', {
      addition_time_embed_dim: 16,
      projection_class_embeddings_input_dim: 128,
    });
    expect(await failure(openAnyCheckpoint(dir))).toContain('add_embedding.linear_1.weight');
    expect(await failure(openCheckpoint(await fixtureModel('tiny-sdxl')))).toContain(
      "Expected null for the U-Net's addition_embed_type but received text_time",
    );
  });

  test('components behind symbolic links', async () => {
    const model = await fixtureModel('tiny-sd15');
    await cp(join(model, 'model_index.json'), join(dir, 'model_index.json'));
    for (const part of ['unet', 'vae', 'text_encoder']) await symlink(join(model, part), join(dir, part));
    expect((await openCheckpoint(dir)).family).toBe('sd1');
  });

  test('parts that do not fit each other or their config', async () => {
    await cp(await fixtureModel('tiny-sd15'), dir, { recursive: true });
    await edit('unet/config.json', { cross_attention_dim: 48 });
    expect(await failure(openCheckpoint(dir))).toContain('Expected [32, 48] for down_blocks.0.attentions.0');
    await edit('unet/config.json', { cross_attention_dim: 32, attention_head_dim: 5 });
    expect(await failure(openCheckpoint(dir))).toMatch(
      /Expected channels in 5 heads but received 32.*unet\/config\.json/,
    );
    await edit('unet/config.json', { attention_head_dim: 4, layers_per_block: 3 });
    expect(await failure(openCheckpoint(dir))).toContain('Expected the tensors down_blocks.0.resnets.2.');
    await edit('unet/config.json', { layers_per_block: 2, norm_num_groups: 48 });
    expect(await failure(openCheckpoint(dir))).toContain('Expected channels in 48 groups but received 32');
    await edit('unet/config.json', { norm_num_groups: 32 });
    await edit('model_index.json', { vae: ['diffusers', 'AutoencoderTiny'] });
    expect(await failure(openCheckpoint(dir))).toContain(
      'Expected AutoencoderKL for vae but received AutoencoderTiny',
    );
    await edit('model_index.json', { vae: ['diffusers', 'AutoencoderKL'] });
    await openCheckpoint(dir);
    await rename(join(dir, 'vae'), join(dir, 'elsewhere'));
    await mkdir(join(dir, 'vae'));
    expect(await failure(openCheckpoint(dir))).toContain('vae/config.json');
  });
});

describe('hash', () => {
  const hash = async (cacheFile: string) =>
    modelHash({ unet: await weightSources(dir, 'unet') }, { cacheFile: join(dir, cacheFile) });

  test('is of tensors, however they are split over files', async () => {
    await writeSafetensors(join(dir, 'model.safetensors'), { b: zeros(3), a: zeros(2, 2) });
    const whole = await hash('1.json');
    expect(whole).toMatch(/^[0-9a-f]{64}$/);
    await rm(join(dir, 'model.safetensors'));
    await writeSafetensors(join(dir, 'model-1.safetensors'), { a: zeros(2, 2) });
    await writeSafetensors(join(dir, 'model-2.safetensors'), { b: zeros(3) });
    await json('model.safetensors.index.json', {
      weight_map: { a: 'model-1.safetensors', b: 'model-2.safetensors' },
    });
    expect(await hash('2.json')).toBe(whole);
    await writeSafetensors(join(dir, 'model-2.safetensors'), {
      b: { shape: [3], data: Float32Array.of(0, 0, 1) },
    });
    expect(await hash('2.json')).not.toBe(whole);
  });

  test('comes from the cache while the file is the same', async () => {
    const path = join(dir, 'model.safetensors');
    await writeSafetensors(path, { a: zeros(2) });
    await utimes(path, 1, 1);
    const first = await hash('cache.json');
    // Same size and time: not read again.
    await writeSafetensors(path, { a: { shape: [2], data: Float32Array.of(1, 2) } });
    await utimes(path, 1, 1);
    expect(await hash('cache.json')).toBe(first);
    await utimes(path, 2, 2);
    expect(await hash('cache.json')).not.toBe(first);
    await writeFile(join(dir, 'cache.json'), 'damaged');
    expect(await hash('cache.json')).not.toBe(first);
  });

  test('of a matrix that its file has transposed', async () => {
    const source = { name: 'a', dtype: 'F32' as const, shape: [2, 3], offset: 0, transposed: true };
    await writeFile(join(dir, 'matrix'), new Uint8Array(Float32Array.of(1, 4, 2, 5, 3, 6).buffer));
    const straight = { ...source, data: Float32Array.of(1, 2, 3, 4, 5, 6) };
    const at = { cacheFile: join(dir, 'cache.json') };
    expect(await modelHash({ x: [{ ...source, file: join(dir, 'matrix') }] }, at)).toBe(
      await modelHash({ x: [straight] }, at),
    );
  });

  test('of tensors in memory', async () => {
    const source = { name: 'a', dtype: 'F32' as const, shape: [2], data: Float32Array.of(1, 2) };
    const other = { ...source, data: Float32Array.of(1, 3) };
    const at = { cacheFile: join(dir, 'none.json') };
    expect(await modelHash({ x: [source] }, at)).not.toBe(await modelHash({ x: [other] }, at));
    expect(await modelHash({ x: [source] }, at)).not.toBe(await modelHash({ y: [source] }, at));
  });
});
