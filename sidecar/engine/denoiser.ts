import type { Plan } from '../graph/plan.ts';
import {
  type AnyCheckpoint,
  planContext,
  planUNet,
  planUnconditionalUNet,
  type UnconditionalCheckpoint,
} from '../models/components.ts';
import { crossAttentionLayers } from '../models/unet.ts';
import type { NativeTensor } from '../native.ts';
import type { LatentSize } from './autoencoder.ts';
import type { Programs } from './programs.ts';

/**
 * What the U-Net needs of a request, on the device: keys and values of cross-attention, `kv.0`, `kv.1`, …, and in
 * Stable Diffusion XL `add_embedding`. Empty for a model without a prompt.
 */
export type Context = Record<string, NativeTensor>;

/** What the context is computed from: encoder_hidden_states [B,T,D] and, in XL, text_embeds [B,P], time_ids [B,n]. */
export interface ContextInputs {
  encoder_hidden_states: Float32Array;
  text_embeds?: Float32Array;
  time_ids?: Float32Array;
}

/** A U-Net on a device: what predicts the noise, or what the model was trained to predict. */
export class Denoiser {
  /** Of the sample; more than `outChannels` in models made for inpainting. */
  readonly inChannels: number;
  /** Of the prediction. */
  readonly outChannels: number;
  readonly #checkpoint: AnyCheckpoint;
  readonly #programs: Programs;

  constructor(checkpoint: AnyCheckpoint, programs: Programs) {
    this.#checkpoint = checkpoint;
    this.#programs = programs;
    this.inChannels = checkpoint.unet.config.in_channels;
    this.outChannels = checkpoint.unet.config.out_channels;
  }

  /** To be disposed of, tensor by tensor. */
  async context(inputs: ContextInputs, batch: number): Promise<Context> {
    const { unet } = this.#conditional();
    const tokens = inputs.encoder_hidden_states.length / batch / unet.config.cross_attention_dim;
    const timeIds = inputs.time_ids && inputs.time_ids.length / batch;
    const keep = crossAttentionLayers(unet.config).map((_, i) => `kv.${i}`);
    if (unet.config.added) keep.push('add_embedding');
    const outputs = await this.#programs.run(
      `context ${batch}x${tokens}`,
      () => planContext({ unet }, { batch, tokens, ...(timeIds && { timeIds }) }),
      { ...inputs },
      { keep },
    );
    return outputs as Context;
  }

  /** sample [B,C,h,w] at a timestep → the prediction, [B,outChannels,h,w]. */
  async predict(
    sample: Float32Array,
    timestep: number,
    context: Context,
    { height, width }: LatentSize,
  ): Promise<Float32Array> {
    const batch = sample.length / (this.inChannels * height * width);
    const tokens = context['kv.0']?.shape[1] ?? 0;
    const outputs = await this.#programs.run(...this.#prediction(batch, { height, width }, tokens), {
      sample,
      timestep: new Float32Array(batch).fill(timestep),
      ...context,
    });
    return outputs.sample as Float32Array;
  }

  /** Bytes that a prediction takes, of so many samples at once. */
  predictBytes(batch: number, size: LatentSize, tokens: number): number {
    return this.#programs.arenaBytes(...this.#prediction(batch, size, tokens));
  }

  #prediction(batch: number, { height, width }: LatentSize, tokens: number): [key: string, plan: () => Plan] {
    const checkpoint = this.#checkpoint;
    return [
      `unet ${batch}x${height}x${width}x${tokens}`,
      () =>
        checkpoint.kind === 'unconditional'
          ? planUnconditionalUNet(checkpoint, { batch, height, width })
          : planUNet(checkpoint, { batch, height, width, tokens }),
    ];
  }

  async dispose(): Promise<void> {
    await this.#programs.dispose();
  }

  #conditional(): Exclude<AnyCheckpoint, UnconditionalCheckpoint> {
    if (this.#checkpoint.kind === 'unconditional') throw new Error('This model has no context');
    return this.#checkpoint;
  }
}
