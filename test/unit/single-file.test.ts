import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openModel } from '../../sidecar/checkpoints/model.ts';
import { OpenModel } from '../../sidecar/engine/open-model.ts';
import { openAnyCheckpoint } from '../../sidecar/models/components.ts';
import type { WeightSource } from '../../sidecar/native.ts';
import { configJson } from '../support/configs.ts';
import { fullShapes, type TableName, table, writeHollowFile } from '../support/single-file.ts';

// Checkpoints of full size, without weights: their keys and shapes are the reference's.

let dir: string;
let file: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'latent-edge-'));
  file = join(dir, 'model.safetensors');
});
afterEach(() => rm(dir, { recursive: true }));

const elements = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
type Parts = Record<string, { sources: WeightSource[]; parameters: number }>;

/** A checkpoint with changes, and what the published files carry beside the parameters. */
function write(name: TableName, changes: Record<string, number[]> = {}): Map<string, number> {
  const others = {
    betas: [1000],
    logvar: [1000],
    'model_ema.diffusion_modelinput_blocks00weight': [320, 4, 3, 3],
    'model_ema.num_updates': [],
    'denoiser.sigmas': [1000],
  };
  return writeHollowFile(file, new Map([...fullShapes(name), ...Object.entries({ ...others, ...changes })]));
}

test.each([
  ['sd15', { text_encoder: 123_060_480, unet: 859_520_964, vae: 83_653_863 }],
  ['sd21', { text_encoder: 340_387_840, unet: 865_910_724, vae: 83_653_863 }],
  ['sdxl', { text_encoder: 123_060_480, text_encoder_2: 694_659_840, unet: 2_567_463_684, vae: 83_653_863 }],
  ['sdxl-refiner', { text_encoder_2: 694_659_840, unet: 2_259_526_660, vae: 83_653_863 }],
] as [TableName, Record<string, number>][])(
  '%s: every tensor is what the reference makes of it',
  async (name, parameters) => {
    const begins = write(name);
    const checkpoint = (await openAnyCheckpoint(file)) as unknown as Parts;
    expect(Object.keys(table(name)).sort()).toEqual(Object.keys(parameters).sort());
    for (const [part, { prefix, tensors }] of Object.entries(table(name))) {
      expect(checkpoint[part]!.parameters).toBe(parameters[part]);
      const sources = new Map(checkpoint[part]!.sources.map((source) => [source.name, source]));
      const expected = tensors.flatMap(([key, shape, from]) => {
        const begin = begins.get(prefix + key)!;
        const names = [from].flat();
        return names.map((each, i) => ({
          name: each.replace('^T', ''),
          offset: begin + (2 * i * elements(shape)) / names.length,
          transposed: each.endsWith('^T'),
        }));
      });
      for (const { name, offset, transposed } of expected)
        expect({ transposed: false, ...sources.get(name) }).toMatchObject({
          ...{ name, file, offset, transposed, dtype: 'F16' },
        });
      expect(sources.size).toBe(expected.length);
    }
  },
);

test.each([
  ['sd15', 'unet-sd15', 'vae-sd', { text_encoder: 'clip-vit-l' }],
  ['sd21', 'unet-sd21', 'vae-sd', { text_encoder: 'clip-vit-h' }],
  ['sdxl', 'unet-sdxl', 'vae-sdxl', { text_encoder: 'clip-vit-l', text_encoder_2: 'clip-vit-bigg' }],
  ['sdxl-refiner', 'unet-sdxl-refiner', 'vae-sdxl', { text_encoder_2: 'clip-vit-bigg' }],
] as [TableName, string, string, Record<string, string>][])(
  '%s: configs are the published ones',
  async (name, unet, vae, texts) => {
    write(name);
    const options = { checkpoint: { prediction_type: 'v_prediction' } };
    if (name === 'sd21') await writeFile(join(dir, 'model.latent-edge.json'), JSON.stringify(options));
    const { file: single } = await openModel(file);
    for (const [part, published] of Object.entries({ unet, vae, ...texts })) {
      const { eos_token_id, ...derived } = single!.parts.get(part)!.config;
      // Fields that the published configs leave to the classes' defaults.
      const expected: Record<string, unknown> = {
        ...{ _class_name: derived._class_name, use_linear_projection: false, scaling_factor: 0.18215 },
        ...{ mid_block_add_attention: true, use_quant_conv: true, use_post_quant_conv: true },
        ...configJson(published),
      };
      if (part === 'unet') {
        const counts = [expected.transformer_layers_per_block ?? 1].flat();
        const types = expected.down_block_types as string[];
        // Of levels without attention it means nothing.
        expected.transformer_layers_per_block = types.map((type, i) =>
          type === 'DownBlock2D' && i < types.length - 1 ? 1 : (counts[i] ?? counts[0]),
        );
      }
      for (const [field, value] of Object.entries(derived))
        expect({ part, [field]: value }).toEqual({ part, [field]: expected[field] });
    }
  },
);

test('2.x files have a 24th layer that is not used', async () => {
  const prefix = 'cond_stage_model.model.';
  const layers = [...fullShapes('sd21')].filter(([key]) => key.includes('.resblocks.22.'));
  write('sd21', {
    ...Object.fromEntries(layers.map(([key, shape]) => [key.replace('.22.', '.23.'), shape])),
    [`${prefix}text_projection`]: [1024, 1024],
    [`${prefix}logit_scale`]: [],
  });
  const { text_encoder } = (await openAnyCheckpoint(file)) as never as Parts;
  expect(text_encoder!.parameters).toBe(340_387_840);
});

const input = 'model.diffusion_model.input_blocks.0.0.weight';

test.each([
  ['sd15', 'StableDiffusionInpaintPipeline', 'sd1', 64],
  ['sd21', 'StableDiffusionInpaintPipeline', 'sd2', 64],
  ['sdxl', 'StableDiffusionXLInpaintPipeline', 'sdxl', 128],
] as const)('%s with 9 channels is for inpainting', async (name, pipeline, family, sample_size) => {
  write(name, { [input]: [320, 9, 3, 3] });
  const checkpoint = await openAnyCheckpoint(file);
  expect(checkpoint).toMatchObject({
    family,
    folder: { pipeline, file: { scheduler: { prediction_type: 'epsilon' } } },
    unet: { config: { in_channels: 9, out_channels: 4, sample_size } },
  });
});

test.each([
  ['sd21', 'sd_turbo', 'EulerDiscreteScheduler'],
  ['sdxl', 'sd_xl_turbo_1.0_fp16', 'EulerAncestralDiscreteScheduler'],
] as const)('%s by the name of %s is the turbo model', async (name, published, _class_name) => {
  file = join(dir, `${published}.safetensors`);
  write(name);
  const model = await OpenModel.open({ name: published, dir: file });
  expect(model.checkpoint).toMatchObject({
    folder: {
      file: { scheduler: { _class_name, timestep_spacing: 'trailing', prediction_type: 'epsilon' } },
    },
    unet: { config: { sample_size: 64 } },
  });
  expect(model).toMatchObject({ isFewStep: true, defaults: { steps: 1, guidanceScale: 1 } });
});

test('resnets of a level may have unequal numbers of transformer layers, as distilled models do', async () => {
  const left =
    /^model\.diffusion_model\.(output_blocks\.0\.1\.transformer_blocks\.[4-9]|input_blocks\.5\.1\.transformer_blocks\.1)\./;
  writeHollowFile(file, new Map([...fullShapes('sdxl')].filter(([key]) => !left.test(key))));
  const { unet } = await openAnyCheckpoint(file);
  expect(unet.config).toMatchObject({
    transformers: {
      down: [
        [1, 1],
        [2, 1],
        [10, 10],
      ],
      mid: 10,
      up: [
        [4, 10, 10],
        [2, 2, 2],
        [0, 0, 0],
      ],
    },
  });
});

test('the refiner has a pipeline of its own', async () => {
  write('sdxl-refiner');
  const { folder } = await openAnyCheckpoint(file);
  expect(folder.pipeline).toBe('StableDiffusionXLImg2ImgPipeline');
  expect(Object.fromEntries(folder.settings)).toEqual({
    force_zeros_for_empty_prompt: false,
    requires_aesthetics_score: true,
  });
});

test('a U-Net alone is known by its shapes', async () => {
  for (const [name, lineage] of [
    ['sd15', 'sd1'],
    ['sd21', 'sd2'],
    ['sdxl', 'sdxl'],
    ['sdxl-refiner', 'sdxl-refiner'],
  ] as const) {
    const unet = [...fullShapes(name)].filter(([key]) => key.startsWith('model.diffusion_model.'));
    for (const prefix of ['model.diffusion_model.', '']) {
      const named = unet.map(([key, shape]): [string, number[]] => [
        key.replace('model.diffusion_model.', prefix),
        shape,
      ]);
      writeHollowFile(file, new Map([...named, ['v_pred', []]]));
      const model = await openModel(file);
      expect(model.file!.lineage).toBe(lineage);
      expect([...model.components.keys()]).toEqual(['unet']);
      expect(model.file!.parts.get('unet')!.sources.length).toBe(unet.length);
    }
  }
});

describe('relatives that are not supported', () => {
  test.each([
    ['sd15', { [input]: [320, 8, 3, 3] }, 'an InstructPix2Pix model'],
    ['sd21', { [input]: [256, 7, 3, 3] }, 'an upscaler'],
    ['sd21', { [input]: [320, 5, 3, 3] }, 'a depth-to-image model'],
    ['sd21', { 'model.diffusion_model.label_emb.0.0.weight': [1280, 2048] }, 'an unCLIP model'],
    ['sdxl', { edm_mean: [1, 4, 1, 1], edm_std: [1, 4, 1, 1] }, 'Playground 2.5'],
    ['sdxl', { 'edm_vpred.sigma_max': [] }, 'a model with EDM v-prediction'],
    ['sd15', { 'control_model.input_hint_block.0.weight': [16, 3, 3, 3] }, 'a ControlNet with its model'],
  ] as [TableName, Record<string, number[]>, string][])('%s with %j', async (name, changes, kind) => {
    write(name, changes);
    await expect(openModel(file)).rejects.toThrow(
      `Expected a checkpoint of Stable Diffusion 1.x, 2.x or XL but ${file} seems to be ${kind}`,
    );
  });
});
