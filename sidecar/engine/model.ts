import { CheckpointError } from '../checkpoints/error.ts';
import { type AnyCheckpoint, componentsOf, type Family, openAnyCheckpoint } from '../models/components.ts';
import type { NativeDevice, WeightDelta } from '../native.ts';
import type { ResolvedSampler } from '../samplers/index.ts';
import { Autoencoder } from './autoencoder.ts';
import { Denoiser } from './denoiser.ts';
import { checkpointHash } from './inspect.ts';
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
  /** By the names of model_index.json. */
  programs: ReadonlyMap<string, Programs>;
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
  /** SHA-256 of its tensors, hexadecimal: being computed from the start, needed at the end. Empty: it cannot be. */
  readonly hash: Promise<string>;
  readonly #parts: ModelParts;

  private constructor(name: string, parts: ModelParts, hash?: Promise<string>) {
    this.name = name;
    this.checkpoint = parts.checkpoint;
    this.settings = parts.settings;
    this.textEncoders = parts.textEncoders;
    this.denoiser = parts.denoiser;
    this.autoencoder = parts.autoencoder;
    this.#parts = parts;
    // Images that are done are worth more than the name of what made them.
    this.hash = hash ?? checkpointHash(parts.checkpoint).catch(() => '');
  }

  /**
   * @param room is told the bytes that it needs, before it takes them.
   * @throws CheckpointError naming file and field or tensor.
   */
  static async load(
    { name, dir }: NamedFolder,
    device: NativeDevice,
    room: (bytes: number) => Promise<void> = async () => {},
  ): Promise<Model> {
    const checkpoint = await openAnyCheckpoint(dir);
    checkChannels(checkpoint, dir);
    const [settings, sampler] = await Promise.all([readSettings(dir), readSampler(checkpoint.folder)]);
    await room(bytesOf(checkpoint));
    const pool = programPool();
    const programs = new Map<string, Programs>();
    const load = async (name: string) => {
      const { sources, dir } = componentsOf(checkpoint)[name]!;
      const loaded = await Programs.load(device, sources, { name, dir }, pool);
      programs.set(name, loaded);
      return loaded;
    };
    try {
      const textEncoders = [];
      for (const { part, component, tokenizer } of textComponents(checkpoint)) {
        const words = await readTokenizer(checkpoint.folder, tokenizer);
        textEncoders.push(new TextEncoder(component, words, await load(part)));
      }
      const denoiser = new Denoiser(checkpoint, await load('unet'));
      const isVq = checkpoint.kind === 'unconditional';
      const autoencoder = new Autoencoder(checkpoint, await load(isVq ? 'vqvae' : 'vae'));
      const models = { textEncoders, denoiser, autoencoder };
      return new Model(name, { checkpoint, settings, sampler, ...models, programs });
    } catch (error) {
      await Promise.all([...programs.values()].map((each) => each.dispose()));
      throw error;
    }
  }

  /**
   * This model with adapters; what they do not change is shared with it, so it has to live as long.
   * @param files where the deltas come from, for messages.
   */
  async adapted(deltas: ReadonlyMap<string, WeightDelta[]>, files: string[]): Promise<Model> {
    const pool = programPool();
    const programs = new Map<string, Programs>();
    try {
      for (const [part, list] of deltas)
        programs.set(part, await this.#parts.programs.get(part)!.adapted(list, files, pool));
    } catch (error) {
      await Promise.all([...programs.values()].map((each) => each.dispose()));
      throw error;
    }
    const textEncoders = textComponents(this.checkpoint).map(({ part, component }, i) => {
      const [encoder, own] = [this.textEncoders[i]!, programs.get(part)];
      return own ? new TextEncoder(component, encoder.tokenizer, own) : encoder;
    });
    const unet = programs.get('unet');
    const denoiser = unet ? new Denoiser(this.checkpoint, unet) : this.denoiser;
    return new Model(this.name, { ...this.#parts, textEncoders, denoiser, programs }, this.hash);
  }

  /** Bytes of the checkpoint's tensors once they are float32. */
  get bytes(): number {
    return bytesOf(this.checkpoint);
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
    return this.#parts.sampler(name || this.settings.sampler, own);
  }

  /** Frees everything on the device that it does not share, after the runs in flight. */
  async dispose(): Promise<void> {
    await Promise.all([...this.#parts.programs.values()].map((each) => each.dispose()));
  }
}

function bytesOf(checkpoint: AnyCheckpoint): number {
  return 4 * Object.values(componentsOf(checkpoint)).reduce((sum, { parameters }) => sum + parameters, 0);
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
