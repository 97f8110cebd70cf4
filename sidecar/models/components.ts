import { CheckpointError } from '../checkpoints/error.ts';
import type { ModelFolder } from '../checkpoints/folder.ts';
import { openModel } from '../checkpoints/model.ts';
import type { ClipTextConfig } from './clip.ts';
import { type Component, type ComponentOptions, openComponent } from './parts.ts';
import type { UNetConfig } from './unet-config.ts';
import type { UnconditionalConfig } from './unet-unconditional.ts';
import { type VaeConfig, vaeScale } from './vae.ts';
import { type VqConfig, vqScale } from './vq.ts';

export {
  type Component,
  type ComponentOptions,
  openComponent,
  openControlNet,
  openPart,
} from './parts.ts';
export {
  planContext,
  planControlContext,
  planControlNet,
  planHint,
  planTaesdDecode,
  planTaesdEncode,
  planTextEncoder,
  planTextEncoderXL,
  planUNet,
  planUnconditionalUNet,
  planVaeDecode,
  planVaeEncode,
  planVqDecode,
  planVqEncode,
} from './plans.ts';

/** A text-to-image checkpoint, ready to be planned for any size. Only configs and headers have been read. */
export interface Checkpoint {
  kind: 'text-to-image';
  folder: ModelFolder;
  family: Family;
  text_encoder: Component<ClipTextConfig>;
  unet: Component<UNetConfig>;
  vae: Component<VaeConfig>;
}

/** A Stable Diffusion XL checkpoint, base or refiner: arXiv:2307.01952. */
export interface XLCheckpoint {
  kind: 'text-to-image-xl';
  folder: ModelFolder;
  family: 'sdxl';
  /** Its states are joined before those of text_encoder_2. The refiner has none. */
  text_encoder?: Component<ClipTextConfig>;
  text_encoder_2: Component<ClipTextConfig>;
  unet: Component<UNetConfig>;
  vae: Component<VaeConfig>;
  /**
   * Numbers of time_ids, height before width: 6 are original size, crop's top and left, target size; 5, the
   * refiner's, are original size, crop's top and left, aesthetic score.
   */
  timeIds: 5 | 6;
  /** Whether an empty negative prompt is zeros, and not the encoding of the empty text. */
  forceZerosForEmptyPrompt: boolean;
}

/** A latent diffusion model without a prompt: arXiv:2112.10752, section 4.1. */
export interface UnconditionalCheckpoint {
  kind: 'unconditional';
  folder: ModelFolder;
  unet: Component<UnconditionalConfig>;
  vqvae: Component<VqConfig>;
}

export type AnyCheckpoint = Checkpoint | XLCheckpoint | UnconditionalCheckpoint;

/**
 * Opens a checkpoint of whatever kind: a folder in diffusers layout, or a single file.
 * @throws CheckpointError, also when the parts do not fit each other.
 */
export async function openAnyCheckpoint(
  path: string,
  options: ComponentOptions = {},
): Promise<AnyCheckpoint> {
  const folder = await openModel(path);
  if (folder.components.has('vqvae')) return openUnconditionalCheckpoint(folder, options);
  if (folder.components.has('text_encoder_2')) return openXLCheckpoint(folder, options);
  return openTextCheckpoint(folder, options);
}

/**
 * Opens a checkpoint of Stable Diffusion 1.x or 2.x: a folder in diffusers layout, or a single file.
 * @throws CheckpointError, also when the parts do not fit each other.
 */
export async function openCheckpoint(path: string, options: ComponentOptions = {}): Promise<Checkpoint> {
  return openTextCheckpoint(await openModel(path), options);
}

async function openTextCheckpoint(folder: ModelFolder, options: ComponentOptions): Promise<Checkpoint> {
  const [text_encoder, unet, vae] = await Promise.all([
    openComponent(folder, 'text_encoder', options),
    openComponent(folder, 'unet', options),
    openComponent(folder, 'vae', options),
  ]);
  const fits = fitsIn(folder.dir);
  fits("the U-Net's addition_embed_type", null, unet.config.addition_embed_type);
  fits("the text encoder's hidden_size", unet.config.cross_attention_dim, text_encoder.config.hidden_size);
  fits("the autoencoder's latent_channels", unet.config.out_channels, vae.config.latent_channels);
  return { kind: 'text-to-image', folder, family: familyOf(unet.config), text_encoder, unet, vae };
}

async function openXLCheckpoint(folder: ModelFolder, options: ComponentOptions): Promise<XLCheckpoint> {
  const [text_encoder, text_encoder_2, unet, vae] = await Promise.all([
    folder.components.has('text_encoder') ? openComponent(folder, 'text_encoder', options) : undefined,
    openComponent(folder, 'text_encoder_2', options),
    openComponent(folder, 'unet', options),
    openComponent(folder, 'vae', options),
  ]);
  const { dir, settings } = folder;
  const fits = fitsIn(dir);
  const width = (text_encoder?.config.hidden_size ?? 0) + text_encoder_2.config.hidden_size;
  fits("the U-Net's addition_embed_type", 'text_time', unet.config.addition_embed_type);
  fits("the text encoders' hidden_size together", unet.config.cross_attention_dim, width);
  fits("the autoencoder's latent_channels", unet.config.out_channels, vae.config.latent_channels);
  const { features, sizeFeatures } = unet.config.added!;
  const timeIds = (features - text_encoder_2.config.projection!) / sizeFeatures;
  if (timeIds !== 5 && timeIds !== 6)
    throw new CheckpointError(
      `Expected the U-Net's projection_class_embeddings_input_dim to hold text_encoder_2's projection_dim and 5 or 6 sizes but received ${timeIds} sizes, in ${dir}`,
      { file: dir },
    );
  return {
    ...{ kind: 'text-to-image-xl', folder, family: 'sdxl', text_encoder, text_encoder_2, unet, vae, timeIds },
    forceZerosForEmptyPrompt: settings.get('force_zeros_for_empty_prompt') !== false,
  };
}

async function openUnconditionalCheckpoint(
  folder: ModelFolder,
  options: ComponentOptions,
): Promise<UnconditionalCheckpoint> {
  const [unet, vqvae] = await Promise.all([
    openComponent(folder, 'unconditional_unet', options),
    openComponent(folder, 'vqvae', options),
  ]);
  const fits = fitsIn(folder.dir);
  fits("the U-Net's out_channels", unet.config.in_channels, unet.config.out_channels);
  fits("the autoencoder's vq_embed_dim", unet.config.out_channels, vqvae.config.vq_embed_dim);
  return { kind: 'unconditional', folder, unet, vqvae };
}

/** What a checkpoint consists of, by the names of model_index.json. */
export function componentsOf(checkpoint: AnyCheckpoint): Record<string, Component<unknown>> {
  const names = ['text_encoder', 'text_encoder_2', 'unet', 'vae', 'vqvae'] as const;
  const all = checkpoint as unknown as Record<string, Component<unknown> | undefined>;
  return Object.fromEntries(names.flatMap((name) => (all[name] ? [[name, all[name]]] : [])));
}

/** Width and height in pixels that the checkpoint was trained at. */
export function defaultSize(
  checkpoint: Pick<Checkpoint, 'unet' | 'vae'> | Pick<UnconditionalCheckpoint, 'unet' | 'vqvae'>,
): { width: number; height: number } {
  const [height, width] = [checkpoint.unet.config.sample_size ?? 64].flat() as [number, number?];
  const scale = 'vae' in checkpoint ? vaeScale(checkpoint.vae.config) : vqScale(checkpoint.vqvae.config);
  return { width: (width ?? height) * scale, height: height * scale };
}

export type Family = 'sd1' | 'sd2' | 'sdxl';

/** The lineage of a U-Net, for listings: by its config alone, parsed or raw. */
export function familyOf(unet: { addition_embed_type?: unknown; use_linear_projection?: unknown }): Family {
  if (unet.addition_embed_type === 'text_time') return 'sdxl';
  return unet.use_linear_projection === true ? 'sd2' : 'sd1';
}

function fitsIn(dir: string) {
  return (what: string, expected: unknown, received: unknown) => {
    if (expected !== received)
      throw new CheckpointError(`Expected ${expected} for ${what} but received ${received}, in ${dir}`, {
        file: dir,
      });
  };
}
