import { z } from 'zod';
import { cosmetic, count, diffusersFields, only } from '../checkpoints/config.ts';
import { broadcast, perBlock } from './config.ts';

const layers = count(32);
/** Transformer layers: none at all where a block has no attention. */
const transformers = z.int().min(0).max(32);

/** What a block attends to after each of its resnets. */
export type Attention = 'none' | 'self' | 'cross';

/** What training scripts leave behind (exponential moving averages). */
export const trainingFields = {
  decay: cosmetic,
  inv_gamma: cosmetic,
  min_decay: cosmetic,
  optimization_step: cosmetic,
  power: cosmetic,
  update_after_step: cosmetic,
  use_ema_warmup: cosmetic,
};

/** Fields that a U-Net and a ControlNet have in common: those of the encoder. */
export const encoderFields = {
  in_channels: count().default(4),
  block_out_channels: z.array(count()).min(1).max(16).default([320, 640, 1280, 1280]),
  down_block_types: z
    .array(z.literal(['CrossAttnDownBlock2D', 'DownBlock2D']))
    .default(['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D']),
  mid_block_type: z
    .literal(['UNetMidBlock2DCrossAttn', 'UNetMidBlock2D', null])
    .default('UNetMidBlock2DCrossAttn'),
  layers_per_block: perBlock(layers).default(2),
  transformer_layers_per_block: perBlock(z.union([transformers, z.array(transformers)])).default(1),
  cross_attention_dim: perBlock(count()).default(1280),
  // The number of heads wherever num_attention_heads is null: a name that stuck (huggingface/diffusers#2011).
  attention_head_dim: perBlock(count()).default(8),
  num_attention_heads: perBlock(count()).nullish(),
  norm_num_groups: count().default(32),
  norm_eps: z.number().positive().default(1e-5),
  downsample_padding: z.literal([0, 1]).default(1),
  flip_sin_to_cos: z.boolean().default(true),
  freq_shift: z.number().default(0),
  // The checkpoint's tensors say it by their shape, and both compute the same.
  use_linear_projection: z.boolean().default(false),
  // float32 throughout.
  upcast_attention: cosmetic,
  addition_embed_type_num_heads: cosmetic,

  /** Conditioning on a pooled text and on sizes: Stable Diffusion XL. */
  addition_embed_type: z.literal(['text_time', null]).default(null),
  addition_time_embed_dim: count().nullish(),
  projection_class_embeddings_input_dim: count().nullish(),

  act_fn: only('silu', 'swish'),
  only_cross_attention: only(false, null),
  mid_block_scale_factor: only(1),
  resnet_time_scale_shift: only('default', null),
  class_embed_type: only(null),
  num_class_embeds: only(null),
  encoder_hid_dim: only(null),
  encoder_hid_dim_type: only(null),
};

const encoderSchema = z.strictObject(encoderFields);

/** What the fields of an encoder come to. */
export function encoderOf(config: z.output<typeof encoderSchema>) {
  const n = config.block_out_channels.length;
  broadcast(config.down_block_types, n, 'down_block_types');
  const dims = broadcast(config.cross_attention_dim, n, 'cross_attention_dim');
  if (dims.some((dim) => dim !== dims[0]))
    throw new Error(`Expected one cross_attention_dim for all blocks but received ${JSON.stringify(dims)}`);
  const down = broadcast(config.transformer_layers_per_block, n, 'transformer_layers_per_block');
  const layers_per_block = broadcast(config.layers_per_block, n, 'layers_per_block');
  const { down_block_types, mid_block_type } = config;
  return {
    attention: { down: attentionOf(down_block_types), mid: attentionOf([mid_block_type])[0]! },
    mid_resnets: mid_block_type === null ? 0 : mid_block_type === 'UNetMidBlock2D' ? 1 : 2,
    added: addedConditioning(config),
    cross_attention_dim: dims[0]!,
    layers_per_block,
    /** Heads of each down block; up blocks have them in reverse. */
    heads: broadcast(config.num_attention_heads ?? config.attention_head_dim, n, 'attention_head_dim'),
    /** Transformer layers of each resnet of each block. */
    transformers: {
      down: down.map((value, i) => broadcast(value, layers_per_block[i]!, 'transformer_layers_per_block')),
      mid: [down.at(-1)!].flat()[0]!,
    },
  };
}

function attentionOf(types: (string | null)[]): Attention[] {
  return types.map((type) => (type?.includes('CrossAttn') ? 'cross' : 'none'));
}

/** config.json of a UNet2DConditionModel, with the defaults of the versions that wrote less. */
export const unetConfig = z
  .strictObject({
    ...diffusersFields('UNet2DConditionModel', 'FlaxUNet2DConditionModel'),
    ...encoderFields,
    out_channels: count().default(4),
    sample_size: z.union([count(), z.tuple([count(), count()])]).nullish(),
    up_block_types: z
      .array(z.literal(['CrossAttnUpBlock2D', 'UpBlock2D']))
      .default(['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D']),
    reverse_transformer_layers_per_block: z.array(z.union([transformers, z.array(transformers)])).nullish(),
    time_embedding_dim: count().nullish(),
    conv_in_kernel: z.literal([1, 3, 5, 7]).default(3),
    conv_out_kernel: z.literal([1, 3, 5, 7]).default(3),
    dropout: cosmetic,

    center_input_sample: only(false, null),
    mid_block_only_cross_attention: only(false, null),
    dual_cross_attention: only(false, null),
    cross_attention_norm: only(null),
    attention_type: only('default', null),
    resnet_out_scale_factor: only(1),
    resnet_skip_time_act: only(false, null),
    time_embedding_type: only('positional', null),
    time_embedding_act_fn: only(null),
    timestep_post_act: only(null),
    time_cond_proj_dim: only(null),
    class_embeddings_concat: only(false, null),

    ...trainingFields,
  })
  .transform((config) => {
    const n = config.block_out_channels.length;
    const encoder = encoderOf(config);
    broadcast(config.up_block_types, n, 'up_block_types');
    const down = broadcast(config.transformer_layers_per_block, n, 'transformer_layers_per_block');
    const up = config.reverse_transformer_layers_per_block ?? down.toReversed();
    if (!config.reverse_transformer_layers_per_block && down.some(Array.isArray))
      throw new Error('Expected reverse_transformer_layers_per_block for uneven blocks but received nothing');
    const layers = encoder.layers_per_block;
    return {
      ...config,
      ...encoder,
      attention: { ...encoder.attention, up: attentionOf(config.up_block_types) },
      transformers: {
        ...encoder.transformers,
        up: broadcast(up, n, 'reverse_transformer_layers_per_block').map((value, i) =>
          broadcast(value, layers[n - 1 - i]! + 1, 'reverse_transformer_layers_per_block'),
        ),
      },
    };
  });

export type UNetConfig = z.output<typeof unetConfig>;

/** Of `text_time`: features of one size's embedding, and of all that is joined: the text's and those of the sizes. */
function addedConditioning(config: {
  addition_embed_type: 'text_time' | null;
  addition_time_embed_dim?: number | null;
  projection_class_embeddings_input_dim?: number | null;
}): { sizeFeatures: number; features: number } | null {
  if (config.addition_embed_type === null) return null;
  const given = (field: 'addition_time_embed_dim' | 'projection_class_embeddings_input_dim') => {
    const value = config[field];
    if (!value) throw new Error(`Expected a number for ${field} with text_time but received nothing`);
    return value;
  };
  return {
    sizeFeatures: given('addition_time_embed_dim'),
    features: given('projection_class_embeddings_input_dim'),
  };
}
