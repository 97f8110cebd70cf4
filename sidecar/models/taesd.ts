import { z } from 'zod';
import { cosmetic, count, diffusersFields, only } from '../checkpoints/config.ts';
import { Graph, type Tensor, Weights } from '../graph/builder.ts';
import type { AutoencoderShape } from './autoencoder.ts';
import { activation, affine, conv2d, toNCHW, toNHWC } from './layers.ts';

// AutoencoderTiny: a distilled autoencoder for the latents of Stable Diffusion, with an eighteenth of the
// arithmetic (github.com/madebyollin/taesd). Inside, activations are [B,H,W,C].

const channels = z.array(count()).min(1).max(16).default([64, 64, 64, 64]);

/** config.json of an AutoencoderTiny. */
export const taesdConfig = z
  .strictObject({
    ...diffusersFields('AutoencoderTiny'),
    in_channels: count().default(3),
    out_channels: count().default(3),
    latent_channels: count().default(4),
    encoder_block_out_channels: channels,
    decoder_block_out_channels: channels,
    num_encoder_blocks: z.array(count(32)).default([1, 3, 3, 3]),
    num_decoder_blocks: z.array(count(32)).default([3, 3, 3, 1]),
    /** The U-Net's latents are the autoencoder's times this. */
    scaling_factor: z.number().positive().default(1),
    act_fn: only('relu'),
    upsample_fn: only('nearest'),
    upsampling_scaling_factor: only(2),
    shift_factor: only(0, null),
    // The decoder's channels once more.
    block_out_channels: cosmetic,
    // float32 throughout.
    force_upcast: cosmetic,
    // Of latents stored as bytes.
    latent_magnitude: cosmetic,
    latent_shift: cosmetic,
  })
  .transform((config) => {
    for (const side of ['encoder', 'decoder'] as const) {
      const [blocks, levels] = [config[`num_${side}_blocks`], config[`${side}_block_out_channels`]];
      if (blocks.length !== levels.length)
        throw new Error(
          `Expected ${levels.length} values for num_${side}_blocks but received ${JSON.stringify(blocks)}`,
        );
    }
    return config;
  });

export type TaesdConfig = z.output<typeof taesdConfig>;

/** How many pixels a latent stands for, in each direction: 8 for Stable Diffusion. */
export function taesdScale(config: TaesdConfig): number {
  return 2 ** (config.decoder_block_out_channels.length - 1);
}

/** image [B,3,H,W] in −1…1 → latents [B,latent_channels,⌈H/8⌉,⌈W/8⌉]: the mean that the full autoencoder gives, scaled. */
export function traceTaesdEncode(config: TaesdConfig, { batch, height, width }: AutoencoderShape): Graph {
  const g = new Graph('taesd.encode');
  const layers = numbered(new Weights(g, 'encoder.layers'));
  let x = toNHWC(g, g.input('image', [batch, config.in_channels, height, width]));
  x = affine(g, 'encoder', x, { scale: 0.5, shift: 0.5 });
  for (const [i, features] of config.encoder_block_out_channels.entries()) {
    x = conv2d(g, layers.next(), x, features, i === 0 ? {} : { stride: 2, bias: false });
    for (let j = 0; j < config.num_encoder_blocks[i]!; j++) x = block(g, layers.next(), x);
  }
  g.output('latents', toNCHW(g, conv2d(g, layers.next(), x, config.latent_channels)));
  return g;
}

/** latents [B,latent_channels,h,w], as the U-Net has them over `scaling_factor` → image [B,3,8h,8w], about −1…1. */
export function traceTaesdDecode(config: TaesdConfig, { batch, height, width }: AutoencoderShape): Graph {
  const g = new Graph('taesd.decode');
  const layers = numbered(new Weights(g, 'decoder.layers'));
  const channels = config.decoder_block_out_channels;
  let x = toNHWC(g, g.input('latents', [batch, config.latent_channels, height, width]));
  x = softClamp(g, x, 3);
  x = conv2d(g, layers.next(), x, channels[0]!);
  x = activation(g, layers.next().path, x, 'relu');
  for (const [i, features] of channels.entries()) {
    for (let j = 0; j < config.num_decoder_blocks[i]!; j++) x = block(g, layers.next(), x);
    if (i === channels.length - 1) x = conv2d(g, layers.next(), x, config.out_channels);
    else {
      // The layer in between is the resizing, which is part of the convolution here.
      layers.next();
      const upsample = [2 * x.shape[1]!, 2 * x.shape[2]!];
      x = conv2d(g, layers.next(), x, features, { bias: false, upsample });
    }
  }
  g.output('image', toNCHW(g, affine(g, 'decoder', x, { scale: 2, shift: -1 })));
  return g;
}

/** AutoencoderTinyBlock: relu(x + conv(relu(conv(relu(conv(x)))))). x [B,H,W,C] → the same. */
function block(g: Graph, w: Weights, x: Tensor): Tensor {
  const C = x.shape[3]!;
  const relu = (y: Tensor) => activation(g, w.path, y, 'relu');
  let h = relu(conv2d(g, w.at('conv', 0), x, C));
  h = relu(conv2d(g, w.at('conv', 2), h, C));
  return relu(conv2d(g, w.at('conv', 4), h, C, { residual: x }));
}

/** tanh(x/limit)·limit: values far beyond ±limit are drawn to it. */
function softClamp(g: Graph, x: Tensor, limit: number): Tensor {
  const unit = affine(g, 'clamp', x, { scale: 1 / limit, shift: 0 });
  return affine(g, 'clamp', activation(g, 'clamp', unit, 'tanh'), { scale: limit, shift: 0 });
}

/** The layers of a torch Sequential, one after the other. */
function numbered(w: Weights) {
  let i = 0;
  return { next: () => w.at(i++) };
}
