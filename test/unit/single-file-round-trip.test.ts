import { copyFile, cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { CheckpointError } from '../../sidecar/checkpoints/error.ts';
import { modelHash } from '../../sidecar/checkpoints/hash.ts';
import { openModel } from '../../sidecar/checkpoints/model.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { modelFolders } from '../../sidecar/engine/roots.ts';
import { readSampler } from '../../sidecar/engine/scheduler.ts';
import { readSettings } from '../../sidecar/engine/settings.ts';
import { readTokenizer } from '../../sidecar/engine/tokenizers.ts';
import { type AnyCheckpoint, openAnyCheckpoint, openComponent } from '../../sidecar/models/components.ts';
import type { WeightSource } from '../../sidecar/native.ts';
import { fixtureModel } from '../support/fixtures.ts';
import { type RawTensor, writeTensors } from '../support/safetensors.ts';
import { convertFolder, optionsOf, type TableName, writeHollowFile } from '../support/single-file.ts';

const models: [string, TableName][] = [
  ['tiny-sd15', 'sd15'],
  ['tiny-sd21-v', 'sd21'],
  ['tiny-sdxl', 'sdxl'],
  ['tiny-sd15-inpaint', 'sd15'],
];

let dir: string;
let file: string;
let tensors: Record<TableName, Record<string, RawTensor>>;
beforeAll(async () => {
  const converted = models
    .slice(0, 3)
    .map(async ([name, table]) => [table, convertFolder(await fixtureModel(name), table)]);
  tensors = Object.fromEntries(await Promise.all(converted));
});
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'latent-edge-'));
  file = join(dir, 'model.safetensors');
});
afterEach(() => rm(dir, { recursive: true }));

const settings = (checkpoint: object, name = 'model') =>
  writeFile(join(dir, `${name}.latent-edge.json`), JSON.stringify({ checkpoint }));
const marker = { dtype: 'F32', shape: [], data: new Uint8Array(4) };

async function failure(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => new Error('nothing was refused'),
    (e) => e,
  );
  expect(error).toBeInstanceOf(CheckpointError);
  return error.message;
}

describe.each(models)('%s as one file', (name, table) => {
  test('is the same checkpoint', async () => {
    const folder = await fixtureModel(name);
    writeTensors(file, convertFolder(folder, table));
    await settings(await optionsOf(folder));
    const [one, other] = (await Promise.all([file, folder].map((path) => openAnyCheckpoint(path)))) as [
      AnyCheckpoint,
      AnyCheckpoint,
    ];
    const [sources, expected] = [one, other].map((each) => tensorsOf(each));
    expect(Object.keys(sources!)).toEqual(Object.keys(expected!));
    // Names, types, shapes and bytes of all tensors.
    expect(await modelHash(sources!, { cacheFile: join(dir, 'a') })).toBe(
      await modelHash(expected!, { cacheFile: join(dir, 'b') }),
    );
    expect(one.folder.pipeline).toBe(other.folder.pipeline);
    expect(one.kind).toBe(other.kind);
  });
});

function tensorsOf(checkpoint: AnyCheckpoint): Record<string, WeightSource[]> {
  const parts = Object.entries(checkpoint as unknown as Record<string, { sources?: WeightSource[] }>);
  return Object.fromEntries(parts.flatMap(([name, part]) => (part.sources ? [[name, part.sources]] : [])));
}

describe('what the U-Net predicts', () => {
  const schedulerOf = async () => (await openModel(file)).file!.scheduler;
  const write = (table: TableName, extra: Record<string, RawTensor> = {}) =>
    writeTensors(file, { ...tensors[table], ...extra });

  test('noise, unless something says otherwise', async () => {
    write('sd15');
    expect(await schedulerOf()).toMatchObject({
      _class_name: 'PNDMScheduler',
      prediction_type: 'epsilon',
      steps_offset: 1,
    });
    write('sdxl');
    expect(await schedulerOf()).toMatchObject({
      _class_name: 'EulerDiscreteScheduler',
      prediction_type: 'epsilon',
      timestep_spacing: 'leading',
    });
  });

  test("trainers' marks in the file", async () => {
    write('sdxl', { v_pred: marker });
    expect(await schedulerOf()).toMatchObject({
      prediction_type: 'v_prediction',
      timestep_spacing: 'leading',
    });
    write('sdxl', { v_pred: marker, ztsnr: { dtype: 'F16', shape: [0], data: new Uint8Array(0) } });
    expect(await schedulerOf()).toMatchObject({
      ...{ prediction_type: 'v_prediction', rescale_betas_zero_snr: true, timestep_spacing: 'trailing' },
    });
    write('sd15', { v_pred: marker, ztsnr: marker });
    expect(await schedulerOf()).toMatchObject({ _class_name: 'DDIMScheduler', rescale_betas_zero_snr: true });
  });

  test('metadata', async () => {
    for (const [metadata, prediction_type] of [
      [{ 'modelspec.prediction_type': 'epsilon' }, 'epsilon'],
      [{ 'modelspec.prediction_type': 'v' }, 'v_prediction'],
      [{ 'modelspec.architecture': 'stable-diffusion-v2-512' }, 'epsilon'],
      [{ 'modelspec.architecture': 'stable-diffusion-v2-768-v' }, 'v_prediction'],
    ] as const) {
      writeTensors(file, tensors.sd21, metadata);
      expect(await schedulerOf()).toMatchObject({ _class_name: 'DDIMScheduler', prediction_type });
    }
  });

  test('2.x: the spread of a bias', async () => {
    const key = 'model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias';
    for (const [spread, prediction_type] of [
      [0.08, 'epsilon'],
      [0.1, 'v_prediction'],
    ] as const) {
      const bias = Float32Array.from({ length: 32 }, (_, i) => 1 + (i % 2 ? spread : -spread));
      write('sd21', { [key]: { dtype: 'F32', shape: [32], data: new Uint8Array(bias.buffer) } });
      expect(await schedulerOf()).toMatchObject({ prediction_type });
      const { sample_size } = (await openModel(file)).file!.parts.get('unet')!.config;
      expect(sample_size).toBe(spread === 0.1 ? 96 : 64);
    }
  });

  test('settings beside the file come first', async () => {
    write('sdxl', { v_pred: marker, ztsnr: marker });
    await settings({ prediction_type: 'epsilon' });
    expect(await schedulerOf()).toMatchObject({ prediction_type: 'epsilon', timestep_spacing: 'leading' });
    await settings({ prediction_type: 'v_prediction', zero_terminal_snr: false });
    expect(await schedulerOf()).not.toHaveProperty('rescale_betas_zero_snr');
    const scheduler = { _class_name: 'EulerAncestralDiscreteScheduler', timestep_spacing: 'trailing' };
    await settings({ scheduler, unet: {}, parts_from: 'not needed' });
    expect(await schedulerOf()).toMatchObject({ ...scheduler, prediction_type: 'v_prediction' });
    const sampler = await readSampler(await openModel(file));
    expect(sampler('', '').name).toBe('euler-ancestral');
    expect(sampler('', '').create({ steps: 1, eta: 0 }).timesteps).toEqual([999]);
  });
});

describe('settings beside the file', () => {
  test('have defaults of requests too', async () => {
    writeTensors(file, tensors.sd15);
    const text = JSON.stringify({
      steps: 20,
      sampler: 'euler',
      checkpoint: { unet: { attention_head_dim: 4 } },
    });
    await writeFile(join(dir, 'model.latent-edge.json'), text);
    expect(await readSettings(file)).toMatchObject({ steps: 20, sampler: 'euler' });
    const { unet } = await openAnyCheckpoint(file);
    expect(unet.config).toMatchObject({ heads: [4, 4, 4, 4] });
    // A folder's own files say these things.
    await writeFile(join(dir, 'latent-edge.json'), text);
    await expect(readSettings(dir)).rejects.toThrow(/checkpoint.*latent-edge\.json/);
  });

  test.each([
    [{ predicts: 'v' }, /predicts/],
    [{ prediction_type: 'v' }, /checkpoint\.prediction_type but received "v", in .*model\.latent-edge\.json/],
    [
      { parts_from: '../elsewhere' },
      /Expected the name of a model beside the file for checkpoint\.parts_from/,
    ],
    [{ parts_from: '..' }, /parts_from/],
    [{ parts_from: '/etc' }, /parts_from/],
    [{ unet: 7 }, /checkpoint\.unet/],
    [{ unet: { heads: 4 } }, /Expected known fields only.*heads: 4, in .*model\.safetensors/],
  ])('%j is refused', async (options, message) => {
    writeTensors(file, tensors.sd15);
    await settings(options);
    expect(await failure(openAnyCheckpoint(file))).toMatch(message);
  });
});

describe('files without all parts', () => {
  const unetOf = (table: TableName) =>
    Object.fromEntries(
      Object.entries(tensors[table]).filter(([key]) => key.startsWith('model.diffusion_model.')),
    );

  test('are opened part by part', async () => {
    writeTensors(file, unetOf('sd15'));
    await settings({ unet: { attention_head_dim: 4 } });
    const unet = await openComponent(await openModel(file), 'unet');
    expect(unet.parameters).toBe(3_222_692);
    expect(await failure(openAnyCheckpoint(file))).toContain(
      `Expected text_encoder and vae in ${file} but found none. Name a model beside it that has them in ${join(dir, 'model.latent-edge.json')}`,
    );
  });

  test('take the others from a model beside them, file or folder', async () => {
    const unet = { attention_head_dim: 4 };
    writeTensors(file, unetOf('sd15'));
    writeTensors(join(dir, 'whole.safetensors'), tensors.sd15);
    await settings({ text_encoder: { num_attention_heads: 4 } }, 'whole');
    await settings({ parts_from: 'whole.safetensors', unet });
    const borrowed = await openAnyCheckpoint(file);
    expect(borrowed).toMatchObject({ unet: { dir: file }, vae: { dir: join(dir, 'whole.safetensors') } });
    expect((await readTokenizer(borrowed.folder, 'tokenizer')).padId).toBe(49407);

    await cp(await fixtureModel('tiny-sd15'), join(dir, 'folder'), { recursive: true });
    await settings({ parts_from: 'folder', unet });
    expect(await openAnyCheckpoint(file)).toMatchObject({
      unet: { dir: file },
      vae: { dir: join(dir, 'folder/vae') },
    });

    await settings({ parts_from: 'none', unet });
    expect(await failure(openAnyCheckpoint(file))).toContain(`${join(dir, 'none')}, which does not exist`);
    // Each lacks what the other lacks.
    await copyFile(file, join(dir, 'other.safetensors'));
    await settings({ parts_from: 'other.safetensors', unet });
    await settings({ parts_from: 'model.safetensors', unet }, 'other');
    expect(await failure(openAnyCheckpoint(file))).toContain('Expected text_encoder and vae in');
  });
});

describe('tensors that do not fit', () => {
  const unet = 'model.diffusion_model.';
  test.each([
    [
      'input_blocks.1.0.in_layers.2.weight',
      'Expected the tensors down_blocks.0.resnets.0.conv1.weight but found none',
    ],
    ['out.2.weight', `Expected the tensor ${unet}out.2.weight but found none`],
    [
      'input_blocks.2.0.out_layers.3.weight',
      `Expected the tensor ${unet}input_blocks.2.0.out_layers.3.weight but found none`,
    ],
  ])('without %s', async (key, message) => {
    const { [unet + key]: _, ...rest } = tensors.sd15;
    writeTensors(file, rest);
    expect(await failure(openAnyCheckpoint(file))).toContain(message);
  });

  test('more than there should be, other shapes, other types', async () => {
    const of = (dtype: string, ...shape: number[]) => ({
      dtype,
      shape,
      data: new Uint8Array(2 * shape.reduce((a, b) => a * b, 1)),
    });
    const opened = (extra: Record<string, RawTensor>) => {
      writeTensors(file, { ...tensors.sd15, ...extra });
      return failure(openAnyCheckpoint(file));
    };
    expect(await opened({ [`${unet}out.9.weight`]: of('F16', 2) })).toContain('but received out.9.weight');
    expect(await opened({ [`${unet}out.0.bias`]: of('F16', 7) })).toContain(
      'Expected [32] for conv_norm_out.bias but received [7]',
    );
    expect(await opened({ [`${unet}out.0.bias`]: of('I16', 32) })).toContain(
      `Expected F32, F16 or BF16 for ${unet}out.0.bias but received I16`,
    );
  });

  test('anything else is an error, not a crash', async () => {
    const keys = Object.keys(tensors.sd15);
    const size = fc.constantFrom(0, 1, 3, 32, 64);
    const change = fc.record({
      at: fc.nat(keys.length - 1),
      shape: fc.option(fc.array(size, { maxLength: 5 })),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 40 }), async (changes) => {
        const changed = new Map(Object.entries(tensors.sd15).map(([key, { shape }]) => [key, shape]));
        for (const { at, shape } of changes) {
          if (shape) changed.set(keys[at]!, shape);
          else changed.delete(keys[at]!);
        }
        writeHollowFile(file, changed);
        const error = await openAnyCheckpoint(file).catch((e) => e);
        if (error instanceof Error) expect(error).toBeInstanceOf(CheckpointError);
      }),
      { numRuns: 60 },
    );
  });
});

describe('files that are no checkpoint', () => {
  test.each([
    [
      [
        'lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight',
        'lora_te_text_model_encoder_layers_0_mlp_fc1.alpha',
      ],
      'a LoRA',
    ],
    [['unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight'], 'a LoRA'],
    [['lora_unet_input_blocks_1_0_in_layers_2.hada_w1_a', 'lora_unet_x.hada_w1_b'], 'a LoRA'],
    [['control_model.input_blocks.0.0.weight', 'control_model.zero_convs.0.0.weight'], 'a ControlNet'],
    [['controlnet_cond_embedding.conv_in.weight', 'down_blocks.0.resnets.0.conv1.weight'], 'a ControlNet'],
    [['input_blocks.0.0.weight', 'zero_convs.0.0.weight'], 'a ControlNet'],
    [['emb_params'], 'a textual inversion embedding'],
    [['clip_g', 'clip_l'], 'a textual inversion embedding'],
    [['<my-cat>'], 'a textual inversion embedding'],
    [['encoder.conv_in.weight', 'encoder.down.0.block.0.conv1.weight'], 'an autoencoder'],
    [
      ['first_stage_model.decoder.conv_in.weight', 'first_stage_model.decoder.up.0.block.0.conv1.weight'],
      'an autoencoder',
    ],
    [
      ['decoder.mid_block.resnets.0.conv1.weight', 'decoder.up_blocks.0.resnets.0.conv1.weight'],
      'an autoencoder',
    ],
    [['text_model.embeddings.token_embedding.weight', 'text_model.final_layer_norm.bias'], 'a text encoder'],
    [['cond_stage_model.model.ln_final.bias', 'cond_stage_model.model.ln_final.weight'], 'a text encoder'],
    [['down_blocks.0.resnets.0.conv1.weight', 'conv_in.weight'], 'a U-Net in diffusers layout'],
    [['model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.scale', 'first_stage_model.x'], 'Flux'],
    [
      ['model.diffusion_model.joint_blocks.0.context_block.attn.proj.bias', 'text_encoders.clip_l.x'],
      'Stable Diffusion 3',
    ],
    [['model_ema.diffusion_modelinput_blocks00weight', 'model_ema.decay'], 'averages of a U-Net alone'],
    [['ip_adapter.1.to_k_ip.weight', 'image_proj.norm.weight'], 'an IP-Adapter'],
  ])('%j', async (keys, kind) => {
    writeHollowFile(file, new Map(keys.map((key) => [key, [2, 2]])));
    expect(await failure(openModel(file))).toBe(
      `Expected a checkpoint of Stable Diffusion 1.x, 2.x or XL but ${file} seems to be ${kind}${kind.startsWith('averages') ? ', without the U-Net' : ''}`,
    );
  });

  test('nobody knows what', async () => {
    writeHollowFile(
      file,
      new Map([
        ['a', [2]],
        ['b', [2]],
      ]),
    );
    expect(await failure(openModel(file))).toContain('has no U-Net');
    await writeFile(file, Buffer.from('\x80\x02}q\x00X\x05\x00\x00\x00', 'latin1'));
    expect(await failure(openModel(file))).toContain('received a pickle');
    expect(await failure(openModel(join(dir, 'none.safetensors')))).toContain('which does not exist');
  });
});

describe('a folder of files', () => {
  const names = async (...roots: string[]) => (await new ModelFolders(roots).list()).map(({ name }) => name);

  test('lists the checkpoints in it, by their names without extension', async () => {
    await cp(await fixtureModel('tiny-sd15'), join(dir, 'b'), { recursive: true });
    writeTensors(join(dir, 'a.safetensors'), tensors.sd15);
    writeHollowFile(join(dir, 'lora.safetensors'), new Map([['lora_unet_x.lora_down.weight', [2, 2]]]));
    writeTensors(join(dir, 'vae.safetensors'), { x: marker });
    await writeFile(join(dir, 'broken.safetensors'), 'x'.repeat(100));
    await copyFile(join(dir, 'a.safetensors'), join(dir, 'old.ckpt'));
    expect(await names(dir)).toEqual(['a', 'b']);
    expect(await new ModelFolders([dir]).find('a')).toEqual({ name: 'a', dir: join(dir, 'a.safetensors') });
    expect(await names(join(dir, 'a.safetensors'))).toEqual(['a']);
    expect((await new ModelFolders([dir], join(dir, 'a.safetensors')).find('')).name).toBe('a');
    // A file that becomes another is looked at again.
    await copyFile(join(dir, 'lora.safetensors'), join(dir, 'a.safetensors'));
    expect(await names(dir)).toEqual(['b']);
    await settings({ parts_from: 'b' }, 'a');
    writeTensors(join(dir, 'a.safetensors'), { ...tensors.sd15 });
    expect(await names(dir)).toEqual(['a', 'b']);
  });

  test('a file that is named says what is wrong with it', async () => {
    writeHollowFile(file, new Map([['lora_unet_x.lora_down.weight', [2, 2]]]));
    await expect(modelFolders([file])).rejects.toThrow('seems to be a LoRA');
    await writeFile(join(dir, 'model.ckpt'), Buffer.from('PK\x03\x04', 'latin1'));
    await expect(modelFolders([join(dir, 'model.ckpt')])).rejects.toThrow('zip');
    await expect(modelFolders([dir])).rejects.toThrow(`Expected a checkpoint in ${dir}`);
  });
});

test('tokenizers are the standard ones', async () => {
  for (const [table, name, padId] of [
    ['sd15', 'tokenizer', 49407],
    ['sd21', 'tokenizer', 0],
    ['sdxl', 'tokenizer', 49407],
    ['sdxl', 'tokenizer_2', 0],
  ] as const) {
    writeTensors(file, tensors[table]);
    expect((await readTokenizer(await openModel(file), name)).padId).toBe(padId);
  }
});
