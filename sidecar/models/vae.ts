import { z } from 'zod';
import { cosmetic, count, diffusersFields, only } from '../checkpoints/config.ts';
import { Graph, Weights } from '../graph/builder.ts';
import {
  type AutoencoderShape,
  autoencoderFields,
  checkBlocks,
  decoder,
  encoder,
  imageInput,
  pixelsPerLatent,
} from './autoencoder.ts';
import { conv2d, toNCHW, toNHWC } from './layers.ts';

// AutoencoderKL: arXiv:2112.10752, section 3.1 and appendix G. Inside, activations are [B,H,W,C].

/** config.json of an AutoencoderKL. */
export const vaeConfig = z
  .strictObject({
    ...diffusersFields('AutoencoderKL', 'FlaxAutoencoderKL'),
    ...autoencoderFields,
    latent_channels: count().default(4),
    use_quant_conv: z.boolean().default(true),
    use_post_quant_conv: z.boolean().default(true),
    /** The U-Net's latents are the autoencoder's times this. */
    scaling_factor: z.number().positive().default(0.18215),
    /** Whether half precision overflows. */
    force_upcast: z.boolean().nullish(),
    shift_factor: only(null, 0),
    latents_mean: only(null),
    latents_std: only(null),
    dropout: cosmetic,
  })
  .transform((config) => {
    checkBlocks(config);
    return config;
  });

export type VaeConfig = z.output<typeof vaeConfig>;

/** How many pixels a latent stands for, in each direction: 8 for Stable Diffusion. */
export function vaeScale(config: VaeConfig): number {
  return pixelsPerLatent(config);
}

/** image [B,3,H,W] in −1…1 → mean and logvar [B,latent_channels,H/8,W/8], logvar as the model gives it. */
export function traceVaeEncode(config: VaeConfig, shape: AutoencoderShape): Graph {
  const g = new Graph('vae.encode');
  const w = new Weights(g);
  const { latent_channels: latents } = config;
  const image = toNHWC(g, imageInput(g, config, shape));
  let x = encoder(g, w.at('encoder'), config, image, 2 * latents);
  if (config.use_quant_conv) x = conv2d(g, w.at('quant_conv'), x, 2 * latents, { kernel: 1 });
  g.output('mean', toNCHW(g, x, [0, latents]));
  g.output('logvar', toNCHW(g, x, [latents, 2 * latents]));
  return g;
}

/** latents [B,latent_channels,h,w], unscaled → image [B,3,8h,8w], about −1…1. */
export function traceVaeDecode(config: VaeConfig, { batch, height, width }: AutoencoderShape): Graph {
  const g = new Graph('vae.decode');
  const w = new Weights(g);
  const { latent_channels: latents } = config;
  let x = toNHWC(g, g.input('latents', [batch, latents, height, width]));
  if (config.use_post_quant_conv) x = conv2d(g, w.at('post_quant_conv'), x, latents, { kernel: 1 });
  g.output('image', toNCHW(g, decoder(g, w.at('decoder'), config, x)));
  return g;
}
