import { type ComponentOptions, componentsOf } from '../models/components.ts';
import type { NativeDevice, WeightDelta } from '../native.ts';
import { Autoencoder } from './autoencoder.ts';
import { Denoiser } from './denoiser.ts';
import { checkpointHash } from './inspect.ts';
import type { NamedFolder } from './model-folders.ts';
import { OpenModel, type OpenParts } from './open-model.ts';
import { Programs, programPool } from './programs.ts';
import { TextEncoder } from './text-encoder.ts';

interface ModelParts extends OpenParts {
  textEncoders: TextEncoder[];
  denoiser: Denoiser;
  autoencoder: Autoencoder;
  /** By the names of model_index.json. */
  programs: ReadonlyMap<string, Programs>;
}

/** A checkpoint on a device. */
export class Model extends OpenModel {
  /** None for a model without a prompt; two for Stable Diffusion XL, of which the refiner has only the second. */
  readonly textEncoders: TextEncoder[];
  readonly denoiser: Denoiser;
  readonly autoencoder: Autoencoder;
  /** SHA-256 of its tensors, hexadecimal: being computed from the start, needed at the end. Empty: it cannot be. */
  readonly hash: Promise<string>;
  readonly #programs: ReadonlyMap<string, Programs>;

  private constructor(name: string, parts: ModelParts, hash?: Promise<string>) {
    super(name, parts);
    this.textEncoders = parts.textEncoders;
    this.denoiser = parts.denoiser;
    this.autoencoder = parts.autoencoder;
    this.#programs = parts.programs;
    // Images that are done are worth more than the name of what made them.
    this.hash = hash ?? checkpointHash(parts.checkpoint).catch(() => '');
  }

  /**
   * @param room is told the bytes that it needs, before it takes them.
   * @throws CheckpointError naming file and field or tensor.
   */
  static async load(
    folder: NamedFolder,
    device: NativeDevice,
    room: (bytes: number) => Promise<void> = async () => {},
    options?: ComponentOptions,
  ): Promise<Model> {
    const opened = await OpenModel.open(folder, options);
    const { checkpoint } = opened;
    await room(opened.bytes);
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
      for (const { part, component, tokenizer } of opened.texts)
        textEncoders.push(new TextEncoder(component, tokenizer, await load(part)));
      const denoiser = new Denoiser(checkpoint, await load('unet'));
      const isVq = checkpoint.kind === 'unconditional';
      const autoencoder = new Autoencoder(checkpoint, await load(isVq ? 'vqvae' : 'vae'));
      return new Model(folder.name, { ...opened.parts, textEncoders, denoiser, autoencoder, programs });
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
        programs.set(part, await this.#programs.get(part)!.adapted(list, files, pool));
    } catch (error) {
      await Promise.all([...programs.values()].map((each) => each.dispose()));
      throw error;
    }
    const textEncoders = this.texts.map(({ part, component }, i) => {
      const [encoder, own] = [this.textEncoders[i]!, programs.get(part)];
      return own ? new TextEncoder(component, encoder.tokenizer, own) : encoder;
    });
    const unet = programs.get('unet');
    const denoiser = unet ? new Denoiser(this.checkpoint, unet) : this.denoiser;
    return new Model(
      this.name,
      { ...this.parts, textEncoders, denoiser, autoencoder: this.autoencoder, programs },
      this.hash,
    );
  }

  /** Frees everything on the device that it does not share, after the runs in flight. */
  async dispose(): Promise<void> {
    if (this.#programs.has('unet')) await this.denoiser.dispose();
    await Promise.all([...this.#programs.values()].map((each) => each.dispose()));
  }
}
