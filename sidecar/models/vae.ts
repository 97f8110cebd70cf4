import { z } from 'zod';
import { cosmetic, count, diffusersFields, only } from '../checkpoints/config.ts';
import { Graph, type Tensor, Weights } from '../graph/builder.ts';
import { downsample, resnetBlock, spatialAttention, upsample } from './blocks.ts';
import { broadcast } from './config.ts';
import { conv2d, groupNorm, toNCHW, toNHWC } from './layers.ts';

// AutoencoderKL: arXiv:2112.10752, section 3.1 and appendix G. Inside, activations are [B,H,W,C].

/** config.json of an AutoencoderKL. */
export const vaeConfig = z
  .strictObject({
    ...diffusersFields('AutoencoderKL', 'FlaxAutoencoderKL'),
    in_channels: count().default(3),
    out_channels: count().default(3),
    latent_channels: count().default(4),
    block_out_channels: z.array(count()).min(1).max(16).default([64]),
    down_block_types: z.array(z.literal('DownEncoderBlock2D')).default(['DownEncoderBlock2D']),
    up_block_types: z.array(z.literal('UpDecoderBlock2D')).default(['UpDecoderBlock2D']),
    layers_per_block: count(32).default(1),
    norm_num_groups: count().default(32),
    mid_block_add_attention: z.boolean().default(true),
    use_quant_conv: z.boolean().default(true),
    use_post_quant_conv: z.boolean().default(true),
    /** The U-Net's latents are the autoencoder's times this. */
    scaling_factor: z.number().positive().default(0.18215),
    /** Whether half precision overflows. */
    force_upcast: z.boolean().nullish(),
    sample_size: z.union([count(), z.tuple([count(), count()])]).nullish(),
    act_fn: only('silu', 'swish'),
    shift_factor: only(null, 0),
    latents_mean: only(null),
    latents_std: only(null),
    dropout: cosmetic,
  })
  .transform((config) => {
    const n = config.block_out_channels.length;
    broadcast(config.down_block_types, n, 'down_block_types');
    broadcast(config.up_block_types, n, 'up_block_types');
    return config;
  });

export type VaeConfig = z.output<typeof vaeConfig>;

export interface VaeShape {
  batch: number;
  /** Of the image for encoding, of the latents for decoding. */
  height: number;
  width: number;
}

/** How many pixels a latent stands for, in each direction: 8 for Stable Diffusion. */
export function vaeScale(config: VaeConfig): number {
  return 2 ** (config.block_out_channels.length - 1);
}

/** image [B,3,H,W] in −1…1 → mean and logvar [B,latent_channels,H/8,W/8], logvar as the model gives it. */
export function traceVaeEncode(config: VaeConfig, { batch, height, width }: VaeShape): Graph {
  const scale = vaeScale(config);
  if (height % scale || width % scale)
    throw new Error(`Expected an image of multiples of ${scale} pixels but received ${width}x${height}`);
  const g = new Graph('vae.encode');
  const w = new Weights(g);
  const { latent_channels: latents } = config;
  let x = encoder(
    g,
    w.at('encoder'),
    config,
    toNHWC(g, g.input('image', [batch, config.in_channels, height, width])),
  );
  if (config.use_quant_conv) x = conv2d(g, w.at('quant_conv'), x, 2 * latents, { kernel: 1 });
  g.output('mean', toNCHW(g, x, [0, latents]));
  g.output('logvar', toNCHW(g, x, [latents, 2 * latents]));
  return g;
}

/** latents [B,latent_channels,h,w], unscaled → image [B,3,8h,8w], about −1…1. */
export function traceVaeDecode(config: VaeConfig, { batch, height, width }: VaeShape): Graph {
  const g = new Graph('vae.decode');
  const w = new Weights(g);
  const { latent_channels: latents } = config;
  let x = toNHWC(g, g.input('latents', [batch, latents, height, width]));
  if (config.use_post_quant_conv) x = conv2d(g, w.at('post_quant_conv'), x, latents, { kernel: 1 });
  g.output('image', toNCHW(g, decoder(g, w.at('decoder'), config, x)));
  return g;
}

/** x [B,H,W,3] → moments [B,H/8,W/8,2·latent_channels]. */
function encoder(g: Graph, w: Weights, config: VaeConfig, x: Tensor): Tensor {
  const { block_out_channels: channels } = config;
  const norm = normOf(config);
  x = conv2d(g, w.at('conv_in'), x, channels[0]!);
  channels.forEach((features, i) => {
    const block = w.at('down_blocks', i);
    for (let j = 0; j < config.layers_per_block; j++)
      x = resnetBlock(g, block.at('resnets', j), x, features, { norm });
    if (i < channels.length - 1) x = downsample(g, block.at('downsamplers', 0), x, 0);
  });
  x = midBlock(g, w.at('mid_block'), config, x);
  x = groupNorm(g, w.at('conv_norm_out'), x, { ...norm, silu: true });
  return conv2d(g, w.at('conv_out'), x, 2 * config.latent_channels);
}

/** x [B,h,w,latent_channels] → [B,8h,8w,3]. */
function decoder(g: Graph, w: Weights, config: VaeConfig, x: Tensor): Tensor {
  const channels = config.block_out_channels.toReversed();
  const norm = normOf(config);
  x = conv2d(g, w.at('conv_in'), x, channels[0]!);
  x = midBlock(g, w.at('mid_block'), config, x);
  channels.forEach((features, i) => {
    const block = w.at('up_blocks', i);
    for (let j = 0; j < config.layers_per_block + 1; j++)
      x = resnetBlock(g, block.at('resnets', j), x, features, { norm });
    if (i < channels.length - 1)
      x = upsample(g, block.at('upsamplers', 0), x, [2 * x.shape[1]!, 2 * x.shape[2]!]);
  });
  x = groupNorm(g, w.at('conv_norm_out'), x, { ...norm, silu: true });
  return conv2d(g, w.at('conv_out'), x, config.out_channels);
}

/** Resnet, attention of one head, resnet. */
function midBlock(g: Graph, w: Weights, config: VaeConfig, x: Tensor): Tensor {
  const norm = normOf(config);
  const features = x.shape[3]!;
  x = resnetBlock(g, w.at('resnets', 0), x, features, { norm });
  if (config.mid_block_add_attention) x = spatialAttention(g, w.at('attentions', 0), x, { heads: 1, norm });
  return resnetBlock(g, w.at('resnets', 1), x, features, { norm });
}

function normOf(config: VaeConfig) {
  return { groups: config.norm_num_groups, eps: 1e-6 };
}
