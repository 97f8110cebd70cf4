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
import { conv2d, quantize, toNCHW, toNHWC } from './layers.ts';

// VQModel: an autoencoder whose latents are rows of a codebook (arXiv:2012.09841), as the unconditional models of
// arXiv:2112.10752 have it: they work on what lies before the codebook. Inside, activations are [B,H,W,C].

/** config.json of a VQModel. */
export const vqConfig = z
  .strictObject({
    ...diffusersFields('VQModel'),
    ...autoencoderFields,
    latent_channels: count().default(3),
    num_vq_embeddings: count(2 ** 20).default(256),
    /** Width of the codebook's rows. */
    vq_embed_dim: count().nullish(),
    /**
     * The U-Net's latents are the autoencoder's times this. Folders from before the field had latents without a
     * scale; the reference reads 0.18215 into them, and gives blurs (huggingface/diffusers#6725).
     */
    scaling_factor: z.number().positive().default(1),
    norm_type: only('group'),
    force_upcast: cosmetic,
    // Of latents that are indices.
    lookup_from_codebook: cosmetic,
  })
  .transform((config) => {
    checkBlocks(config);
    return { ...config, vq_embed_dim: config.vq_embed_dim ?? config.latent_channels };
  });

export type VqConfig = z.output<typeof vqConfig>;

/** How many pixels a latent stands for, in each direction: 4 for the published models. */
export function vqScale(config: VqConfig): number {
  return pixelsPerLatent(config);
}

/** image [B,3,H,W] in −1…1 → latents [B,vq_embed_dim,H/4,W/4], not quantised. */
export function traceVqEncode(config: VqConfig, shape: AutoencoderShape): Graph {
  const g = new Graph('vqvae.encode');
  const w = new Weights(g);
  const x = encoder(
    g,
    w.at('encoder'),
    config,
    toNHWC(g, imageInput(g, config, shape)),
    config.latent_channels,
  );
  g.output('latents', toNCHW(g, conv2d(g, w.at('quant_conv'), x, config.vq_embed_dim, { kernel: 1 })));
  return g;
}

/** latents [B,vq_embed_dim,h,w], unscaled, each replaced by the nearest row of the codebook → image [B,3,4h,4w]. */
export function traceVqDecode(config: VqConfig, { batch, height, width }: AutoencoderShape): Graph {
  const g = new Graph('vqvae.decode');
  const w = new Weights(g);
  let x = toNHWC(g, g.input('latents', [batch, config.vq_embed_dim, height, width]));
  x = quantize(g, w.at('quantize', 'embedding'), x, config.num_vq_embeddings);
  x = conv2d(g, w.at('post_quant_conv'), x, config.latent_channels, { kernel: 1 });
  g.output('image', toNCHW(g, decoder(g, w.at('decoder'), config, x)));
  return g;
}
