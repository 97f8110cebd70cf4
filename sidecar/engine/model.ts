import { CheckpointError } from '../checkpoints/error.ts';
import { modelHash } from '../checkpoints/hash.ts';
import {
  type Checkpoint,
  openCheckpoint,
  planContext,
  planTextEncoder,
  planUNet,
  planVaeDecode,
} from '../models/components.ts';
import { crossAttentionLayers } from '../models/unet.ts';
import { vaeScale } from '../models/vae.ts';
import type { NativeDevice, NativeTensor } from '../native.ts';
import type { ResolvedSampler } from '../samplers/index.ts';
import type { ClipTokenizer, Encoded } from '../text/tokenizer.ts';
import type { NamedFolder } from './model-folders.ts';
import { Programs, programPool } from './programs.ts';
import { readSampler, type SamplerChoice } from './scheduler.ts';
import { type ModelSettings, readSettings } from './settings.ts';
import { readTokenizer } from './tokenizers.ts';

/** Cross-attention keys and values on the device, `kv.0`, `kv.1`, …: what the U-Net needs of a text. */
export type Context = Record<string, NativeTensor>;

/** Height and width of latents. */
export interface LatentSize {
  height: number;
  width: number;
}

interface ModelParts {
  checkpoint: Checkpoint;
  settings: ModelSettings;
  tokenizer: ClipTokenizer;
  sampler: SamplerChoice;
  text: Programs;
  unet: Programs;
  vae: Programs;
}

/** A checkpoint on a device. Tensors are float32, [B,C,h,w] or [B,T,C]. */
export class Model {
  readonly name: string;
  readonly checkpoint: Checkpoint;
  readonly settings: ModelSettings;
  readonly #tokenizer: ClipTokenizer;
  readonly #sampler: SamplerChoice;
  /** SHA-256 of its tensors, hexadecimal: being computed from the start, needed at the end. */
  readonly hash: Promise<string>;
  readonly #text: Programs;
  readonly #unet: Programs;
  readonly #vae: Programs;
  /** Names of the context's tensors. */
  readonly #kv: string[];

  private constructor(name: string, parts: ModelParts) {
    this.name = name;
    this.checkpoint = parts.checkpoint;
    this.settings = parts.settings;
    this.#tokenizer = parts.tokenizer;
    this.#sampler = parts.sampler;
    this.#text = parts.text;
    this.#unet = parts.unet;
    this.#vae = parts.vae;
    this.#kv = crossAttentionLayers(parts.checkpoint.unet.config).map((_, i) => `kv.${i}`);
    const { text_encoder, unet, vae } = parts.checkpoint;
    this.hash = modelHash({ text_encoder: text_encoder.sources, unet: unet.sources, vae: vae.sources });
    // Whoever awaits it gets the error.
    this.hash.catch(() => {});
  }

  /** @throws CheckpointError naming file and field or tensor. */
  static async load({ name, dir }: NamedFolder, device: NativeDevice): Promise<Model> {
    const checkpoint = await openCheckpoint(dir);
    const [settings, tokenizer, sampler] = await Promise.all([
      readSettings(dir),
      readTokenizer(checkpoint.folder, 'tokenizer'),
      readSampler(checkpoint.folder),
    ]);
    const { in_channels, out_channels } = checkpoint.unet.config;
    if (in_channels !== out_channels)
      throw new CheckpointError(
        `Expected ${out_channels} for the U-Net's in_channels, to make images from text alone, but received ${in_channels}, in ${dir}`,
        { file: dir },
      );
    const { vocab_size } = checkpoint.text_encoder.config;
    if (tokenizer.vocabSize > vocab_size)
      throw new CheckpointError(
        `Expected at most ${vocab_size} tokens, the text encoder's vocab_size, but received ${tokenizer.vocabSize}, in ${dir}`,
        { file: dir },
      );
    const pool = programPool();
    const [text, unet, vae] = await Promise.all(
      ([checkpoint.text_encoder, checkpoint.unet, checkpoint.vae] as const).map(
        async ({ sources, dir }) => new Programs(device, await device.loadWeights(sources), dir, pool),
      ),
    );
    return new Model(name, { checkpoint, settings, tokenizer, sampler, text: text!, unet: unet!, vae: vae! });
  }

  /** Bytes of the checkpoint's tensors once they are float32. */
  get bytes(): number {
    const { text_encoder, unet, vae } = this.checkpoint;
    return 4 * (text_encoder.parameters + unet.parameters + vae.parameters);
  }

  /** How many pixels a latent stands for, in each direction. */
  get scale(): number {
    return vaeScale(this.checkpoint.vae.config);
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

  /** A text as the text encoder takes it. */
  tokenize(text: string): Encoded {
    const { max_position_embeddings: longest } = this.checkpoint.text_encoder.config;
    return this.#tokenizer.encode(text, { maxLength: Math.min(this.#tokenizer.modelMaxLength, longest) });
  }

  /** ids [B,T] → [B,T,D]. */
  async encodeText(ids: Int32Array, batch: number, clipSkip: number): Promise<Float32Array> {
    const shape = { batch, tokens: ids.length / batch, clipSkip };
    const { last_hidden_state } = await this.#text.run(
      `text_encoder ${batch}x${shape.tokens} skip ${clipSkip}`,
      () => planTextEncoder(this.checkpoint, shape),
      { input_ids: ids },
    );
    return last_hidden_state as Float32Array;
  }

  /** Text encodings [B,T,D] → keys and values of every cross-attention layer. To be disposed of. */
  async context(encodings: Float32Array, batch: number): Promise<Context> {
    const tokens = encodings.length / batch / this.checkpoint.unet.config.cross_attention_dim;
    const shape = { batch, tokens };
    const key = `context ${batch}x${tokens}`;
    const plan = () => planContext(this.checkpoint, shape);
    return (await this.#unet.run(
      key,
      plan,
      { encoder_hidden_states: encodings },
      { keep: this.#kv },
    )) as Context;
  }

  /** The U-Net: sample [B,C,h,w] at a timestep → its prediction, of the same shape. */
  async predict(
    sample: Float32Array,
    timestep: number,
    context: Context,
    size: LatentSize,
  ): Promise<Float32Array> {
    const [batch, tokens] = context['kv.0']!.shape as [number, number];
    const { height, width } = size;
    const outputs = await this.#unet.run(
      `unet ${batch}x${height}x${width}x${tokens}`,
      () => planUNet(this.checkpoint, { batch, height, width, tokens }),
      { sample, timestep: new Float32Array(batch).fill(timestep), ...context },
    );
    return outputs.sample as Float32Array;
  }

  /** The autoencoder's decoder: latents [1,C,h,w], unscaled → image [1,3,H,W], about −1…1. */
  async decode(latents: Float32Array, { height, width }: LatentSize): Promise<Float32Array> {
    const outputs = await this.#vae.run(
      `vae.decode 1x${height}x${width}`,
      () => planVaeDecode(this.checkpoint, { batch: 1, height, width }),
      { latents },
    );
    return outputs.image as Float32Array;
  }

  /** Frees everything of it on the device, after the runs in flight. */
  async dispose(): Promise<void> {
    await Promise.all([this.#text.dispose(), this.#unet.dispose(), this.#vae.dispose()]);
  }
}
