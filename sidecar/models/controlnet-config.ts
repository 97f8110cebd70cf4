import { z } from 'zod';
import { count, diffusersFields, only } from '../checkpoints/config.ts';
import { CheckpointError } from '../checkpoints/error.ts';
import { encoderFields, encoderOf, type UNetConfig } from './unet-config.ts';

/** config.json of a ControlNetModel. */
export const controlNetConfig = z
  .strictObject({
    ...diffusersFields('ControlNetModel'),
    ...encoderFields,
    /** Of the hint: 3 for a picture. */
    conditioning_channels: count(64).default(3),
    /** Of the hint embedding; from each to the next its size halves. */
    conditioning_embedding_out_channels: z.array(count()).min(1).max(8).default([16, 32, 96, 256]),
    controlnet_conditioning_channel_order: only('rgb'),
    global_pool_conditions: only(false),
  })
  .transform((config) => ({ ...config, ...encoderOf(config), conv_in_kernel: 3 }));

export type ControlNetConfig = z.output<typeof controlNetConfig>;

/** Pixels of the hint along one latent: 8. */
export function hintScale({ conditioning_embedding_out_channels: channels }: ControlNetConfig): number {
  return 2 ** (channels.length - 1);
}

/** Residuals that a ControlNet gives, the middle's among them: 13 of Stable Diffusion 1.5, 10 of XL. */
export function residualCount({
  layers_per_block: layers,
}: Pick<ControlNetConfig, 'layers_per_block'>): number {
  return layers.reduce((sum, n) => sum + n, 0) + layers.length + 1;
}

/**
 * Factors of the residuals: the scale for each, or in guess mode a tenth of it for the first, up to the whole for the
 * middle's, evenly in the logarithm. arXiv:2302.05543, section 3.3.
 */
export function residualScales(
  config: Pick<ControlNetConfig, 'layers_per_block'>,
  scale: number,
  { guessMode = false }: { guessMode?: boolean } = {},
): number[] {
  const n = residualCount(config);
  return Array.from({ length: n }, (_, i) => (guessMode ? scale * 10 ** (i / (n - 1) - 1) : scale));
}

/**
 * Whether a ControlNet was made for U-Nets of that kind.
 * @param dir where the ControlNet comes from.
 * @throws CheckpointError naming what differs.
 */
export function checkControlNet(unet: UNetConfig, control: ControlNetConfig, dir: string): void {
  const fits = (what: string, ours: unknown, theirs: unknown) => {
    const [expected, received] = [JSON.stringify(ours), JSON.stringify(theirs)];
    if (expected === received) return;
    throw new CheckpointError(
      `Expected a ControlNet for the base model's U-Net, whose ${what} is ${expected}, but received one whose ${what} is ${received}, in ${dir}`,
      { file: dir },
    );
  };
  fits('cross_attention_dim', unet.cross_attention_dim, control.cross_attention_dim);
  fits('block_out_channels', unet.block_out_channels, control.block_out_channels);
  fits('layers_per_block', unet.layers_per_block, control.layers_per_block);
  if (control.added) {
    fits('addition_embed_type', unet.addition_embed_type, control.addition_embed_type);
    fits('addition_time_embed_dim', unet.added!.sizeFeatures, control.added.sizeFeatures);
    fits('projection_class_embeddings_input_dim', unet.added!.features, control.added.features);
  }
  // One for inpainting takes a mask and a picture as well: its latents are the first of them.
  if (control.in_channels !== unet.in_channels) fits('out_channels', unet.out_channels, control.in_channels);
}
