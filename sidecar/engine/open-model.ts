import { CheckpointError } from '../checkpoints/error.ts';
import type { ClipTextConfig } from '../models/clip.ts';
import {
  type AnyCheckpoint,
  type Component,
  type ComponentOptions,
  componentsOf,
  type Family,
  openAnyCheckpoint,
} from '../models/components.ts';
import { vaeScale } from '../models/vae.ts';
import { vqScale } from '../models/vq.ts';
import type { ResolvedSampler } from '../samplers/index.ts';
import type { ClipTokenizer } from '../text/tokenizer.ts';
import { isFewStep } from './few-step.ts';
import type { NamedFolder } from './model-folders.ts';
import { readSampler, type SamplerChoice } from './scheduler.ts';
import { type Defaults, defaultsOf, type ModelSettings, readSettings } from './settings.ts';
import { readTokenizer } from './tokenizers.ts';

/** A text encoder's files and its tokenizer, by its name in model_index.json. */
export interface OpenText {
  part: 'text_encoder' | 'text_encoder_2';
  component: Component<ClipTextConfig>;
  tokenizer: ClipTokenizer;
}

/** Where a model's autoencoder leads to. */
export interface LatentSpace {
  channels: number;
  /** Pixels that a latent stands for, in either direction. */
  scale: number;
  /** Whether images can be encoded. */
  encodes: boolean;
  /** The U-Net's latents are the autoencoder's times this. */
  scalingFactor: number;
}

export interface OpenParts {
  checkpoint: AnyCheckpoint;
  settings: ModelSettings;
  choose: SamplerChoice;
  texts: OpenText[];
}

/**
 * A model's files, all of them read but the weights, and found to fit each other: what can be opened is listed, and
 * can be asked for. Requests are planned by it.
 */
export class OpenModel {
  readonly name: string;
  readonly checkpoint: AnyCheckpoint;
  readonly settings: ModelSettings;
  /** In the order in which their states are joined; none for a model without a prompt. */
  readonly texts: readonly OpenText[];
  readonly #choose: SamplerChoice;

  protected constructor(name: string, { checkpoint, settings, choose, texts }: OpenParts) {
    this.name = name;
    this.checkpoint = checkpoint;
    this.settings = settings;
    this.texts = texts;
    this.#choose = choose;
  }

  /** @throws CheckpointError naming file and field or tensor. */
  static async open({ name, dir }: NamedFolder, options?: ComponentOptions): Promise<OpenModel> {
    const checkpoint = await openAnyCheckpoint(dir, options);
    checkChannels(checkpoint, dir);
    const [settings, choose, texts] = await Promise.all([
      readSettings(dir),
      readSampler(checkpoint.folder),
      openTexts(checkpoint),
    ]);
    const model = new OpenModel(name, { checkpoint, settings, choose, texts });
    ownSampler(model, dir);
    return model;
  }

  /** Bytes that the checkpoint's tensors take once they are loaded. */
  get bytes(): number {
    const parts = Object.values(componentsOf(this.checkpoint));
    return parts.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  get family(): Family | 'ldm' {
    return this.checkpoint.kind === 'unconditional' ? 'ldm' : this.checkpoint.family;
  }

  /** Whether it was distilled to few steps without guidance. */
  get isFewStep(): boolean {
    return this.settings.few_step ?? isFewStep(this.#choose('', ''));
  }

  /** Of a request that does not say. */
  get defaults(): Defaults {
    return defaultsOf(this.settings, this.family, this.isFewStep);
  }

  /** Whether it was made for inpainting: its U-Net also takes a mask and what is left of the image. */
  get inpaints(): boolean {
    const { in_channels, out_channels } = this.checkpoint.unet.config;
    return in_channels > out_channels;
  }

  get latentSpace(): LatentSpace {
    const { checkpoint } = this;
    if (checkpoint.kind === 'unconditional') {
      const { config } = checkpoint.vqvae;
      return {
        ...{ channels: config.vq_embed_dim, scale: vqScale(config), encodes: false },
        scalingFactor: config.scaling_factor,
      };
    }
    const { config } = checkpoint.vae;
    return {
      ...{ channels: config.latent_channels, scale: vaeScale(config), encodes: true },
      scalingFactor: config.scaling_factor,
    };
  }

  /** Pixels that width and height are multiples of. */
  get sizeStep(): number {
    const { downsample_padding, block_out_channels } = this.checkpoint.unet.config;
    // Without padding, a level whose size is odd would not come back to it.
    const levels = downsample_padding === 0 ? block_out_channels.length - 1 : 0;
    return this.latentSpace.scale * 2 ** levels;
  }

  /**
   * The sampler of that name and schedule; where they are empty, the model's own.
   * @throws ServiceError invalid_argument for a name that is not known.
   */
  sampler(name: string, schedule: string): ResolvedSampler {
    // The model's own schedule belongs to its own sampler.
    const own = name === '' && schedule === '' ? this.settings.schedule : schedule;
    return this.#choose(name || this.settings.sampler, own);
  }

  get parts(): OpenParts {
    const { checkpoint, settings, texts } = this;
    return { checkpoint, settings, choose: this.#choose, texts: [...texts] };
  }
}

async function openTexts(checkpoint: AnyCheckpoint): Promise<OpenText[]> {
  if (checkpoint.kind === 'unconditional') return [];
  const second = checkpoint.kind === 'text-to-image-xl' ? checkpoint.text_encoder_2 : undefined;
  const all = [
    { part: 'text_encoder', component: checkpoint.text_encoder, words: 'tokenizer' },
    { part: 'text_encoder_2', component: second, words: 'tokenizer_2' },
  ] as const;
  const texts = all.map(async ({ part, component, words }) => {
    if (!component) return [];
    const tokenizer = await readTokenizer(checkpoint.folder, words);
    checkWords(tokenizer, component);
    return [{ part, component, tokenizer }];
  });
  return (await Promise.all(texts)).flat();
}

/** A tokenizer may have fewer words than its encoder, but none that it has not. */
function checkWords({ vocabSize }: ClipTokenizer, { config, dir }: Component<ClipTextConfig>): void {
  if (vocabSize <= config.vocab_size) return;
  throw new CheckpointError(
    `Expected at most ${config.vocab_size} tokens, the text encoder's vocab_size, but received ${vocabSize}, in ${dir}`,
    { file: dir },
  );
}

/** Latents alone, or beside them a mask and the latents of the image outside of it. */
function checkChannels({ unet }: AnyCheckpoint, dir: string): void {
  const { in_channels, out_channels } = unet.config;
  if (in_channels === out_channels || in_channels === 2 * out_channels + 1) return;
  throw new CheckpointError(
    `Expected ${out_channels} for the U-Net's in_channels, or ${2 * out_channels + 1} for inpainting, but received ${in_channels}, in ${dir}`,
    { file: dir },
  );
}

/** A scheduler's config can be sound JSON and name a sampler that is not known, as latent-edge.json can. */
function ownSampler(model: OpenModel, dir: string): void {
  try {
    model.sampler('', '');
  } catch (error) {
    if (error instanceof CheckpointError) throw error;
    const { message } = error as Error;
    throw new CheckpointError(`${message}, in the settings of ${dir}`, { file: dir, cause: error });
  }
}
