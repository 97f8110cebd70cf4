import { z } from 'zod';
import { cosmetic, count, diffusersFields, only } from '../checkpoints/config.ts';
import { Graph, Weights } from '../graph/builder.ts';
import { broadcast } from './config.ts';
import { affine, toNHWC } from './layers.ts';
import { downBlocks, midBlock, perRow, timeEmbedding, type UNetBlocks, upBlocks } from './unet-blocks.ts';
import { type Attention, trainingFields } from './unet-config.ts';

// UNet2DModel, conditioned on the time alone, of latent diffusion without a prompt (arXiv:2112.10752, section 4.1)
// and of DDPM (arXiv:2006.11239, appendix B).

/** config.json of a UNet2DModel, with the defaults of the versions that wrote less. */
export const unconditionalConfig = z
  .strictObject({
    ...diffusersFields('UNet2DModel'),
    in_channels: count().default(3),
    out_channels: count().default(3),
    sample_size: z.union([count(), z.tuple([count(), count()])]).nullish(),
    block_out_channels: z.array(count()).min(1).max(16).default([224, 448, 672, 896]),
    down_block_types: z
      .array(z.literal(['DownBlock2D', 'AttnDownBlock2D']))
      .default(['DownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D', 'AttnDownBlock2D']),
    mid_block_type: z.literal(['UNetMidBlock2D', null]).default('UNetMidBlock2D'),
    up_block_types: z
      .array(z.literal(['UpBlock2D', 'AttnUpBlock2D']))
      .default(['AttnUpBlock2D', 'AttnUpBlock2D', 'AttnUpBlock2D', 'UpBlock2D']),
    /** Whether the middle has attention. */
    add_attention: z.boolean().default(true),
    layers_per_block: count(32).default(2),
    /** Channels of a head; null: all of them in one. */
    attention_head_dim: count().nullable().default(8),
    norm_num_groups: count().default(32),
    norm_eps: z.number().positive().default(1e-5),
    /** Of the middle's attention; null: norm_num_groups. */
    attn_norm_num_groups: count().nullish(),
    downsample_padding: z.literal([0, 1]).default(1),
    flip_sin_to_cos: z.boolean().default(true),
    freq_shift: z.number().default(0),
    time_embedding_dim: count().nullish(),
    /** Whether values come in 0…1 and are wanted in −1…1. */
    center_input_sample: z.boolean().default(false),
    dropout: cosmetic,

    act_fn: only('silu', 'swish'),
    downsample_type: only('conv'),
    upsample_type: only('conv'),
    mid_block_scale_factor: only(1),
    resnet_time_scale_shift: only('default'),
    time_embedding_type: only('positional'),
    class_embed_type: only(null),
    num_class_embeds: only(null),
    // Of learned time embeddings.
    num_train_timesteps: cosmetic,
    ...trainingFields,
  })
  .transform((config) => {
    const { block_out_channels: channels, attention_head_dim: size, mid_block_type } = config;
    const n = channels.length;
    const attention = (types: string[]) =>
      types.map((type): Attention => (type.startsWith('Attn') ? 'self' : 'none'));
    broadcast(config.down_block_types, n, 'down_block_types');
    broadcast(config.up_block_types, n, 'up_block_types');
    if (config.attn_norm_num_groups && config.attn_norm_num_groups !== config.norm_num_groups)
      throw new Error(
        `Expected ${config.norm_num_groups}, norm_num_groups, or null for attn_norm_num_groups but received ${config.attn_norm_num_groups}`,
      );
    return {
      ...config,
      layers_per_block: broadcast(config.layers_per_block, n, 'layers_per_block'),
      attention: {
        down: attention(config.down_block_types),
        mid: mid_block_type && config.add_attention ? 'self' : 'none',
        up: attention(config.up_block_types),
      },
      mid_resnets: mid_block_type === null ? 0 : 2,
      heads: channels.map((C) => (size === null ? 1 : C / size)),
      conv_in_kernel: 3,
      conv_out_kernel: 3,
    } satisfies UNetBlocks;
  });

export type UnconditionalConfig = z.output<typeof unconditionalConfig>;

export interface UnconditionalShape {
  batch: number;
  /** Of the sample; any size from 1. */
  height: number;
  width: number;
}

/** sample [B,in_channels,h,w], timestep [B] → sample [B,out_channels,h,w]. */
export function traceUnconditionalUNet(
  config: UnconditionalConfig,
  { batch, height, width }: UnconditionalShape,
): Graph {
  const g = new Graph('unet');
  const w = new Weights(g);
  let sample = toNHWC(g, g.input('sample', [batch, config.in_channels, height, width]));
  if (config.center_input_sample) sample = affine(g, 'input', sample, { scale: 2, shift: -1 });
  const temb = perRow(g, timeEmbedding(g, w, config, g.input('timestep', [batch])));
  const { x, skips } = downBlocks(g, w, config, sample, { temb });
  g.output('sample', upBlocks(g, w, config, midBlock(g, w, config, x, { temb }), skips, { temb }));
  return g;
}
