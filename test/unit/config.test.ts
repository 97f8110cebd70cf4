import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { parseConfig } from '../../sidecar/checkpoints/config.ts';
import { CheckpointError } from '../../sidecar/checkpoints/error.ts';
import { clipTextConfig } from '../../sidecar/models/clip.ts';
import { familyOf } from '../../sidecar/models/components.ts';
import { controlNetConfig } from '../../sidecar/models/controlnet-config.ts';
import { taesdConfig } from '../../sidecar/models/taesd.ts';
import { unetConfig } from '../../sidecar/models/unet-config.ts';
import { unconditionalConfig } from '../../sidecar/models/unet-unconditional.ts';
import { vaeConfig } from '../../sidecar/models/vae.ts';
import { vqConfig } from '../../sidecar/models/vq.ts';
import { config, configJson } from '../support/configs.ts';

const schemas: Record<string, z.ZodType> = {
  'unet-ldm': unconditionalConfig,
  'unet-ddpm': unconditionalConfig,
  unet: unetConfig,
  controlnet: controlNetConfig,
  vae: vaeConfig,
  vq: vqConfig,
  taesd: taesdConfig,
  clip: clipTextConfig,
};
const schemaOf = (name: string) => schemas[Object.keys(schemas).find((start) => name.startsWith(start))!]!;

function refused(name: string, changes: Record<string, unknown>): string {
  try {
    parseConfig(schemaOf(name), { ...configJson(name), ...changes }, 'model/config.json');
  } catch (error) {
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as CheckpointError).message).toMatch(/, in model\/config\.json$/);
    return (error as CheckpointError).message;
  }
  throw new Error(`Expected ${JSON.stringify(changes)} to be refused`);
}

describe('published configs', () => {
  test('attention_head_dim is the number of heads, for each block', () => {
    expect(config(unetConfig, 'unet-sd15').heads).toEqual([8, 8, 8, 8]);
    expect(config(unetConfig, 'unet-sd21').heads).toEqual([5, 10, 20, 20]);
    const renamed = { ...configJson('unet-sd15'), num_attention_heads: [2, 4, 4, 4] };
    expect(parseConfig(unetConfig, renamed, 'x').heads).toEqual([2, 4, 4, 4]);
  });

  test('fields that older versions left out have their defaults', () => {
    expect(config(unetConfig, 'unet-sd15')).toMatchObject({
      mid_block_type: 'UNetMidBlock2DCrossAttn',
      conv_in_kernel: 3,
      transformers: {
        down: [
          [1, 1],
          [1, 1],
          [1, 1],
          [1, 1],
        ],
        mid: 1,
        up: Array(4).fill([1, 1, 1]),
      },
    });
    expect(config(vaeConfig, 'vae-sd')).toMatchObject({
      scaling_factor: 0.18215,
      mid_block_add_attention: true,
    });
  });

  test('a whole CLIPModel gives its text part, dozens of generation settings and all', () => {
    const text = config(clipTextConfig, 'clip-vit-l-legacy');
    expect(text).toMatchObject({ hidden_size: 768, num_hidden_layers: 12, hidden_act: 'quick_gelu' });
  });

  test('what training scripts and newer versions add is accepted', () => {
    const added = {
      _name_or_path: 'x',
      decay: 0.9999,
      use_ema_warmup: false,
      dropout: 0.1,
      upcast_attention: true,
    };
    expect(parseConfig(unetConfig, { ...configJson('unet-sd15'), ...added }, 'x')).toMatchObject({
      in_channels: 4,
    });
    const newer = { dtype: 'float16', tie_word_embeddings: false, is_decoder: null };
    expect(parseConfig(clipTextConfig, { ...configJson('clip-vit-l'), ...newer }, 'x').hidden_size).toBe(768);
  });

  test('uneven transformer layers', () => {
    const uneven = {
      ...configJson('unet-sd15'),
      layers_per_block: [1, 2, 2, 1],
      transformer_layers_per_block: [[1], [2, 3], 1, 1],
      reverse_transformer_layers_per_block: [1, 1, [3, 2, 1], 1],
    };
    expect(parseConfig(unetConfig, uneven, 'x').transformers).toEqual({
      down: [[1], [2, 3], [1, 1], [1]],
      mid: 1,
      up: [
        [1, 1],
        [1, 1, 1],
        [3, 2, 1],
        [1, 1],
      ],
    });
  });

  test('Stable Diffusion XL: text and sizes beside the time, levels without attention', () => {
    expect(config(unetConfig, 'unet-sdxl')).toMatchObject({
      added: { sizeFeatures: 256, features: 2816 },
      attention: { down: ['none', 'cross', 'cross'], mid: 'cross', up: ['cross', 'cross', 'none'] },
      heads: [5, 10, 20],
      transformers: {
        down: [
          [1, 1],
          [2, 2],
          [10, 10],
        ],
        mid: 10,
        up: [
          [10, 10, 10],
          [2, 2, 2],
          [1, 1, 1],
        ],
      },
    });
    expect(config(unetConfig, 'unet-sdxl-refiner')).toMatchObject({
      added: { sizeFeatures: 256, features: 2560 },
      attention: { down: ['none', 'cross', 'cross', 'none'] },
      transformers: { mid: 4 },
    });
    const distilled = { ...configJson('unet-sdxl'), transformer_layers_per_block: [0, 2, 4] };
    expect(parseConfig(unetConfig, distilled, 'x').transformers.down[0]).toEqual([0, 0]);
    expect(config(unetConfig, 'unet-sd15').added).toBeNull();
  });

  test('without a prompt: channels of a head, where the other U-Nets have heads', () => {
    expect(config(unconditionalConfig, 'unet-ldm-celebahq')).toMatchObject({
      heads: [7, 14, 21, 28],
      attention: {
        down: ['none', 'self', 'self', 'self'],
        mid: 'self',
        up: ['self', 'self', 'self', 'none'],
      },
      mid_resnets: 2,
    });
    expect(config(unconditionalConfig, 'unet-ddpm-cat').heads).toEqual([1, 1, 1, 1, 1, 1]);
    const plain = parseConfig(unconditionalConfig, { add_attention: false }, 'x');
    expect(plain).toMatchObject({ block_out_channels: [224, 448, 672, 896], attention: { mid: 'none' } });
    expect(parseConfig(unconditionalConfig, { mid_block_type: null }, 'x').mid_resnets).toBe(0);
  });

  test('a codebook over latents without a scale, as the published folder means it', () => {
    expect(config(vqConfig, 'vq-ldm-celebahq')).toMatchObject({ scaling_factor: 1, vq_embed_dim: 3 });
    const later = { ...configJson('vq-ldm-celebahq'), scaling_factor: 0.18215, vq_embed_dim: 4 };
    expect(parseConfig(vqConfig, later, 'x')).toMatchObject({ scaling_factor: 0.18215, vq_embed_dim: 4 });
  });

  test('families', () => {
    expect(familyOf(config(unetConfig, 'unet-sd15'))).toBe('sd1');
    expect(familyOf(config(unetConfig, 'unet-sd21'))).toBe('sd2');
    expect(familyOf(config(unetConfig, 'unet-sdxl'))).toBe('sdxl');
    expect(familyOf({ addition_embed_type: 'text_time', use_linear_projection: true })).toBe('sdxl');
  });
});

describe('a field that would change the result is an error naming field, value and file', () => {
  test.each([
    [
      'unet-sd15',
      { rotary: true },
      'Expected known fields only, as others may change the result, but received rotary: true',
    ],
    [
      'unet-sd15',
      { class_embed_type: 'timestep' },
      'Expected null for class_embed_type but received "timestep"',
    ],
    ['unet-sd15', { num_class_embeds: 1000 }, 'Expected null for num_class_embeds but received 1000'],
    ['unet-sd15', { time_cond_proj_dim: 256 }, 'Expected null for time_cond_proj_dim but received 256'],
    [
      'unet-sd15',
      { addition_embed_type: 'text' },
      'Expected "text_time" or null for addition_embed_type but received "text"',
    ],
    [
      'unet-sdxl',
      { addition_time_embed_dim: null },
      'Expected a number for addition_time_embed_dim with text_time but received nothing',
    ],
    [
      'unet-sdxl',
      { projection_class_embeddings_input_dim: null },
      'Expected a number for projection_class_embeddings_input_dim with text_time',
    ],
    ['unet-sd15', { act_fn: 'gelu' }, 'Expected "silu" or "swish" for act_fn but received "gelu"'],
    ['unet-sd15', { mid_block_scale_factor: 1.5 }, 'Expected 1 for mid_block_scale_factor but received 1.5'],
    [
      'unet-sd15',
      { only_cross_attention: [true, false] },
      'for only_cross_attention but received [true,false]',
    ],
    [
      'unet-sd15',
      { down_block_types: Array(4).fill('AttnDownBlock2D') },
      'for down_block_types.0 but received "AttnDownBlock2D"',
    ],
    [
      'unet-sd15',
      { _class_name: 'UNet3DConditionModel' },
      'for _class_name but received "UNet3DConditionModel"',
    ],
    ['unet-sd15', { block_out_channels: [320, 640] }, 'Expected 2 values for down_block_types but received'],
    [
      'unet-sd15',
      { attention_head_dim: [8, 8] },
      'Expected 4 values for attention_head_dim but received [8,8]',
    ],
    [
      'unet-sd15',
      { cross_attention_dim: [768, 768, 768, 1024] },
      'Expected one cross_attention_dim for all blocks',
    ],
    [
      'unet-sd15',
      { transformer_layers_per_block: [[1, 1], 1, 1, 1] },
      'Expected reverse_transformer_layers_per_block',
    ],
    ['unet-sd15', { layers_per_block: 1e9 }, 'for layers_per_block but received 1000000000'],
    ['unet-sd15', { norm_num_groups: null }, 'Expected number for norm_num_groups but received null'],
    ['vae-sd', { latents_mean: [0, 0, 0, 0] }, 'Expected null for latents_mean but received [0,0,0,0]'],
    ['vae-sd', { down_block_types: ['AttnDownBlock2D'] }, 'for down_block_types.0 but received'],
    ['vae-sd', { up_block_types: ['UpDecoderBlock2D'] }, 'Expected 4 values for up_block_types'],
    ['vae-sd', { scaling_factor: 0 }, 'for scaling_factor but received 0'],
    ['vq-ldm-celebahq', { norm_type: 'spatial' }, 'Expected "group" for norm_type but received "spatial"'],
    ['vq-ldm-celebahq', { num_vq_embeddings: 2 ** 21 }, 'for num_vq_embeddings but received 2097152'],
    ['taesd', { act_fn: 'silu' }, 'Expected "relu" for act_fn but received "silu"'],
    ['taesd', { upsampling_scaling_factor: 4 }, 'Expected 2 for upsampling_scaling_factor but received 4'],
    ['taesd', { num_decoder_blocks: [3, 1] }, 'Expected 4 values for num_decoder_blocks but received [3,1]'],
    ['unet-ldm-celebahq', { downsample_type: 'resnet' }, 'Expected "conv" for downsample_type'],
    [
      'unet-ldm-celebahq',
      { time_embedding_type: 'fourier' },
      'Expected "positional" for time_embedding_type',
    ],
    ['unet-ldm-celebahq', { num_class_embeds: 10 }, 'Expected null for num_class_embeds but received 10'],
    ['unet-ldm-celebahq', { attn_norm_num_groups: 8 }, 'Expected 32, norm_num_groups, or null'],
    ['unet-ldm-celebahq', { down_block_types: Array(4).fill('SkipDownBlock2D') }, 'for down_block_types.0'],
    [
      'clip-vit-l',
      { hidden_act: 'gelu_new' },
      'Expected "quick_gelu" or "gelu" for hidden_act but received "gelu_new"',
    ],
    ['clip-vit-l', { use_attention_mask: true }, 'for use_attention_mask but received true'],
    ['clip-vit-l', { pruned_heads: { 0: [1] } }, 'Expected known fields only'],
    ['clip-vit-l', { num_hidden_layers: 1.5 }, 'for num_hidden_layers but received 1.5'],
    ['clip-vit-l', { quantization_config: { bits: 4 } }, 'but received quantization_config: {"bits":4}'],
    ['clip-vit-l-legacy', { text_config: { hidden_act: 'relu' } }, 'for hidden_act but received "relu"'],
    [
      'controlnet-sd15',
      { global_pool_conditions: true },
      'false for global_pool_conditions but received true',
    ],
    ['controlnet-sd15', { conditioning_channels: 0 }, 'for conditioning_channels but received 0'],
    ['controlnet-sdxl', { num_control_type: 6 }, 'but received num_control_type: 6'],
  ])('%s %o', (name, changes, message) => {
    expect(refused(name, changes)).toContain(message);
  });

  test.each([null, [], 'x', 7])('%o is no config', (json) => {
    for (const schema of Object.values(schemas))
      expect(() => parseConfig(schema, json, 'config.json')).toThrow(
        /^Expected object for the config but received .*, in config\.json$/,
      );
  });
});

test('any value in any field is understood or refused by name', () => {
  for (const name of [
    'unet-sd15',
    'unet-sdxl',
    'unet-ldm-celebahq',
    'controlnet-sdxl',
    'taesd',
    'vq-ldm-celebahq',
    'vae-sd',
    'clip-vit-l',
    'clip-vit-l-legacy',
  ]) {
    const json = configJson(name);
    const field = fc.oneof(fc.constantFrom(...Object.keys(json)), fc.string());
    fc.assert(
      fc.property(fc.dictionary(field, fc.jsonValue(), { maxKeys: 3 }), (changes) => {
        try {
          parseConfig(schemaOf(name), { ...json, ...changes }, 'config.json');
        } catch (error) {
          expect(error).toBeInstanceOf(CheckpointError);
          expect((error as Error).message).toMatch(/^Expected .*, in config\.json$/s);
        }
      }),
    );
  }
});
