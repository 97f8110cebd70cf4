import { z } from 'zod';
import { count, only } from '../checkpoints/config.ts';
import type { Graph, Tensor, Weights } from '../graph/builder.ts';
import { downsample, resnetBlock, spatialAttention, upsample } from './blocks.ts';
import { broadcast } from './config.ts';
import { conv2d, groupNorm } from './layers.ts';

// Encoder and decoder of latent diffusion's autoencoders, with a Gaussian in between or a codebook:
// arXiv:2112.10752, section 3.1 and appendix G. Inside, activations are [B,H,W,C].

/** Fields of their config.json. */
export const autoencoderFields = {
  in_channels: count().default(3),
  out_channels: count().default(3),
  block_out_channels: z.array(count()).min(1).max(16).default([64]),
  down_block_types: z
    .array(z.literal(['DownEncoderBlock2D', 'AttnDownEncoderBlock2D']))
    .default(['DownEncoderBlock2D']),
  up_block_types: z
    .array(z.literal(['UpDecoderBlock2D', 'AttnUpDecoderBlock2D']))
    .default(['UpDecoderBlock2D']),
  layers_per_block: count(32).default(1),
  norm_num_groups: count().default(32),
  mid_block_add_attention: z.boolean().default(true),
  sample_size: z.union([count(), z.tuple([count(), count()])]).nullish(),
  act_fn: only('silu', 'swish'),
};

/** What encoder and decoder are built from. */
export interface AutoencoderBlocks {
  out_channels: number;
  block_out_channels: number[];
  down_block_types: string[];
  up_block_types: string[];
  layers_per_block: number;
  norm_num_groups: number;
  mid_block_add_attention: boolean;
}

export interface AutoencoderShape {
  batch: number;
  /** Of the image for encoding, of the latents for decoding. */
  height: number;
  width: number;
}

/** @throws Error unless there is a type for every block. */
export function checkBlocks({ block_out_channels, down_block_types, up_block_types }: AutoencoderBlocks) {
  broadcast(down_block_types, block_out_channels.length, 'down_block_types');
  broadcast(up_block_types, block_out_channels.length, 'up_block_types');
}

/** How many pixels a latent stands for, in each direction: 8 for Stable Diffusion. */
export function pixelsPerLatent({ block_out_channels }: { block_out_channels: number[] }): number {
  return 2 ** (block_out_channels.length - 1);
}

/** The input `image` [B,in_channels,H,W] of an encoder; whole latents only. */
export function imageInput(
  g: Graph,
  config: AutoencoderBlocks & { in_channels: number },
  { batch, height, width }: AutoencoderShape,
): Tensor {
  const scale = pixelsPerLatent(config);
  if (height % scale || width % scale)
    throw new Error(`Expected an image of multiples of ${scale} pixels but received ${width}x${height}`);
  return g.input('image', [batch, config.in_channels, height, width]);
}

/** x [B,H,W,3] → [B,H/8,W/8,features]. */
export function encoder(
  g: Graph,
  w: Weights,
  config: AutoencoderBlocks,
  x: Tensor,
  features: number,
): Tensor {
  const { block_out_channels: channels, down_block_types: types } = config;
  const norm = normOf(config);
  x = conv2d(g, w.at('conv_in'), x, channels[0]!);
  for (const [i, C] of channels.entries()) {
    const block = w.at('down_blocks', i);
    for (let j = 0; j < config.layers_per_block; j++) {
      x = resnetBlock(g, block.at('resnets', j), x, C, { norm });
      if (types[i] === 'AttnDownEncoderBlock2D')
        x = spatialAttention(g, block.at('attentions', j), x, { heads: 1, norm });
    }
    if (i < channels.length - 1) x = downsample(g, block.at('downsamplers', 0), x, 0);
  }
  x = midBlock(g, w.at('mid_block'), config, x);
  x = groupNorm(g, w.at('conv_norm_out'), x, { ...norm, silu: true });
  return conv2d(g, w.at('conv_out'), x, features);
}

/** x [B,h,w,latent_channels] → [B,8h,8w,3]. */
export function decoder(g: Graph, w: Weights, config: AutoencoderBlocks, x: Tensor): Tensor {
  const { block_out_channels, up_block_types: types } = config;
  const channels = block_out_channels.toReversed();
  const norm = normOf(config);
  x = conv2d(g, w.at('conv_in'), x, channels[0]!);
  x = midBlock(g, w.at('mid_block'), config, x);
  for (const [i, C] of channels.entries()) {
    const block = w.at('up_blocks', i);
    for (let j = 0; j < config.layers_per_block + 1; j++) {
      x = resnetBlock(g, block.at('resnets', j), x, C, { norm });
      if (types[i] === 'AttnUpDecoderBlock2D')
        x = spatialAttention(g, block.at('attentions', j), x, { heads: 1, norm });
    }
    if (i < channels.length - 1)
      x = upsample(g, block.at('upsamplers', 0), x, [2 * x.shape[1]!, 2 * x.shape[2]!]);
  }
  x = groupNorm(g, w.at('conv_norm_out'), x, { ...norm, silu: true });
  return conv2d(g, w.at('conv_out'), x, config.out_channels);
}

/** Resnet, attention of one head, resnet. */
function midBlock(g: Graph, w: Weights, config: AutoencoderBlocks, x: Tensor): Tensor {
  const norm = normOf(config);
  const C = x.shape[3]!;
  x = resnetBlock(g, w.at('resnets', 0), x, C, { norm });
  if (config.mid_block_add_attention) x = spatialAttention(g, w.at('attentions', 0), x, { heads: 1, norm });
  return resnetBlock(g, w.at('resnets', 1), x, C, { norm });
}

function normOf(config: AutoencoderBlocks) {
  return { groups: config.norm_num_groups, eps: 1e-6 };
}
