import { CheckpointError } from '../checkpoints/error.ts';
import { modelHash } from '../checkpoints/hash.ts';
import { type AnyCheckpoint, type Component, type Family, openAnyCheckpoint } from '../models/components.ts';
import type { NativeDevice } from '../native.ts';
import type { ResolvedSampler } from '../samplers/index.ts';
import { Autoencoder } from './autoencoder.ts';
import { Denoiser } from './denoiser.ts';
import type { NamedFolder } from './model-folders.ts';
import { Programs, programPool } from './programs.ts';
import { readSampler, type SamplerChoice } from './scheduler.ts';
import { type ModelSettings, readSettings } from './settings.ts';
import { TextEncoder } from './text-encoder.ts';
import { readTokenizer } from './tokenizers.ts';

interface ModelParts {
  checkpoint: AnyCheckpoint;
  settings: ModelSettings;
  sampler: SamplerChoice;
  textEncoders: TextEncoder[];
  denoiser: Denoiser;
  autoencoder: Autoencoder;
}

/** A checkpoint on a device. */
export class Model {
  readonly name: string;
  readonly checkpoint: AnyCheckpoint;
  readonly settings: ModelSettings;
  /** None for a model without a prompt; two for Stable Diffusion XL, of which the refiner has only the second. */
  readonly textEncoders: TextEncoder[];
  readonly denoiser: Denoiser;
  readonly autoencoder: Autoencoder;
  /** SHA-256 of its tensors, hexadecimal: being computed from the start, needed at the end. */
  readonly hash: Promise<string>;
  readonly #sampler: SamplerChoice;

  private constructor(name: string, parts: ModelParts) {
    this.name = name;
    this.checkpoint = parts.checkpoint;
    this.settings = parts.settings;
    this.textEncoders = parts.textEncoders;
    this.denoiser = parts.denoiser;
    this.autoencoder = parts.autoencoder;
    this.#sampler = parts.sampler;
    const components = Object.entries(componentsOf(parts.checkpoint));
    this.hash = modelHash(Object.fromEntries(components.map(([part, { sources }]) => [part, sources])));
    // Whoever awaits it gets the error.
    this.hash.catch(() => {});
  }

  /** @throws CheckpointError naming file and field or tensor. */
  static async load({ name, dir }: NamedFolder, device: NativeDevice): Promise<Model> {
    const checkpoint = await openAnyCheckpoint(dir);
    checkChannels(checkpoint, dir);
    const [settings, sampler] = await Promise.all([readSettings(dir), readSampler(checkpoint.folder)]);
    const pool = programPool();
    const programs = async (name: string) => {
      const { sources, dir } = componentsOf(checkpoint)[name]!;
      return new Programs(device, await device.loadWeights(sources), { name, dir }, pool);
    };
    const textEncoders = [];
    for (const { part, component, tokenizer } of textComponents(checkpoint)) {
      const words = await readTokenizer(checkpoint.folder, tokenizer);
      textEncoders.push(new TextEncoder(component, words, await programs(part)));
    }
    const denoiser = new Denoiser(checkpoint, await programs('unet'));
    const isVq = checkpoint.kind === 'unconditional';
    const autoencoder = new Autoencoder(checkpoint, await programs(isVq ? 'vqvae' : 'vae'));
    return new Model(name, { checkpoint, settings, sampler, textEncoders, denoiser, autoencoder });
  }

  /** Bytes of the checkpoint's tensors once they are float32. */
  get bytes(): number {
    const components = Object.values(componentsOf(this.checkpoint));
    return 4 * components.reduce((sum, { parameters }) => sum + parameters, 0);
  }

  get family(): Family | 'ldm' {
    return this.checkpoint.kind === 'unconditional' ? 'ldm' : this.checkpoint.family;
  }

  /** Whether it was made for inpainting: its U-Net also takes a mask and what is left of the image. */
  get inpaints(): boolean {
    return this.denoiser.inChannels > this.denoiser.outChannels;
  }

  /**
   * The sampler of that name and schedule; where they are empty, the model's own.
   * @throws ServiceError invalid_argument for a name that is not known.
   */
  sampler(name: string, schedule: string): ResolvedSampler {
    // The model's own schedule belongs to its own sampler.
    const own = name === '' && schedule === '' ? this.settings.schedule : schedule;
    return this.#sampler(name || this.settings.sampler, own);
  }

  /** Frees everything of it on the device, after the runs in flight. */
  async dispose(): Promise<void> {
    await Promise.all([...this.textEncoders, this.denoiser, this.autoencoder].map((part) => part.dispose()));
  }
}

/** What a checkpoint consists of, by the names of model_index.json. */
function componentsOf(checkpoint: AnyCheckpoint): Record<string, Component<unknown>> {
  const names = ['text_encoder', 'text_encoder_2', 'unet', 'vae', 'vqvae'] as const;
  const all = checkpoint as unknown as Record<string, Component<unknown> | undefined>;
  return Object.fromEntries(names.flatMap((name) => (all[name] ? [[name, all[name]]] : [])));
}

/** The text encoders, in the order in which their states are joined. */
function textComponents(checkpoint: AnyCheckpoint) {
  if (checkpoint.kind === 'unconditional') return [];
  const second = checkpoint.kind === 'text-to-image-xl' ? checkpoint.text_encoder_2 : undefined;
  return [
    { part: 'text_encoder', component: checkpoint.text_encoder, tokenizer: 'tokenizer' as const },
    { part: 'text_encoder_2', component: second, tokenizer: 'tokenizer_2' as const },
  ].flatMap(({ component, ...names }) => (component ? [{ ...names, component }] : []));
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
