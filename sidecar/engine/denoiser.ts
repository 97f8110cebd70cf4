import type { Plan } from '../graph/plan.ts';
import {
  type AnyCheckpoint,
  type Component,
  planContext,
  planUNet,
  planUnconditionalUNet,
  type UnconditionalCheckpoint,
} from '../models/components.ts';
import type { ControlNetConfig } from '../models/controlnet-config.ts';
import { crossAttentionLayers } from '../models/unet.ts';
import type { InputValue, NativeTensor } from '../native.ts';
import type { LatentSize } from './autoencoder.ts';
import type { ControlNet } from './control/controlnet.ts';
import { Pool } from './pool.ts';
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

/** A ControlNet's part in a prediction: its inputs by name, hint [B,h,w,C], scales [R,B] and its own context. */
export interface ControlInput {
  net: ControlNet;
  inputs: Record<string, InputValue>;
}

/** Sets of ControlNets that a U-Net is kept composed with. */
const MAX_COMPOSED = 16;

/** A U-Net on a device: what predicts the noise, or what the model was trained to predict. */
export class Denoiser {
  /** Of the sample; more than `outChannels` in models made for inpainting. */
  readonly inChannels: number;
  /** Of the prediction. */
  readonly outChannels: number;
  readonly #checkpoint: AnyCheckpoint;
  readonly #programs: Programs;
  /** By the ControlNets that are part of its plans. */
  readonly #composed = new Pool<Programs>({ count: MAX_COMPOSED, cost: Number.POSITIVE_INFINITY });

  readonly #watched = new Map<ControlNet, () => void>();

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
    controls: readonly ControlInput[] = [],
  ): Promise<Float32Array> {
    const batch = sample.length / (this.inChannels * height * width);
    const tokens = context['kv.0']?.shape[1] ?? 0;
    const inputs: Record<string, InputValue> = {
      sample,
      timestep: new Float32Array(batch).fill(timestep),
      ...context,
    };
    for (const [i, control] of controls.entries())
      for (const [name, value] of Object.entries(control.inputs)) inputs[`control.${i}.${name}`] = value;
    const nets = controls.map(({ net }) => net);
    if (nets.some(({ config }) => config.in_channels !== this.inChannels))
      inputs['control.sample'] = firstChannels(sample, batch, this.outChannels / this.inChannels);
    const configs = nets.map(({ component }) => component);
    const outputs = await this.#with(nets, (programs) =>
      programs.run(...this.#prediction(batch, { height, width }, tokens, configs), inputs),
    );
    return outputs.sample as Float32Array;
  }

  /** Bytes that a prediction takes, of so many samples at once. */
  predictBytes(
    batch: number,
    size: LatentSize,
    tokens: number,
    controls: readonly Component<ControlNetConfig>[] = [],
  ): number {
    const [key, plan] = this.#prediction(batch, size, tokens, controls);
    return this.#programs.arenaBytes([key, ...controls.map(({ dir }) => dir)].join(' '), plan);
  }

  #prediction(
    batch: number,
    { height, width }: LatentSize,
    tokens: number,
    controls: readonly Component<ControlNetConfig>[],
  ): [key: string, plan: () => Plan] {
    const checkpoint = this.#checkpoint;
    return [
      `unet ${batch}x${height}x${width}x${tokens}`,
      () =>
        checkpoint.kind === 'unconditional'
          ? planUnconditionalUNet(checkpoint, { batch, height, width })
          : planUNet(checkpoint, { batch, height, width, tokens }, controls),
    ];
  }

  /** Runs `work` with this U-Net's programs, or those that have ControlNets in them. */
  #with<R>(nets: readonly ControlNet[], work: (programs: Programs) => Promise<R>): Promise<R> {
    if (nets.length === 0) return work(this.#programs);
    const key = nets.map(({ id }) => `#${id}`).join('+');
    const compose = async () => {
      const others = nets.map(({ programs }, i) => [`control.${i}.`, programs]);
      const value = await this.#programs.beside(`unet${key}`, Object.fromEntries(others));
      for (const net of nets) this.#watch(net);
      return { value, cost: 0, dispose: () => value.dispose() };
    };
    return this.#composed.use(key, compose, work);
  }

  /** Lets go of what shares a ControlNet's weights before they go. */
  #watch(net: ControlNet): void {
    if (this.#watched.has(net)) return;
    const leave = async () => {
      this.#watched.delete(net);
      await this.#composed.clear((key) => key.split('+').includes(`#${net.id}`));
    };
    this.#watched.set(net, net.onDispose(leave));
  }

  /** Frees what it shares with ControlNets; its own programs are the model's. */
  async dispose(): Promise<void> {
    for (const unwatch of this.#watched.values()) unwatch();
    await this.#composed.clear();
  }

  #conditional(): Exclude<AnyCheckpoint, UnconditionalCheckpoint> {
    if (this.#checkpoint.kind === 'unconditional') throw new Error('This model has no context');
    return this.#checkpoint;
  }
}

/** A share of the channels of each image: what a ControlNet sees of an inpainting model's input. */
function firstChannels(sample: Float32Array, batch: number, share: number): Float32Array {
  const image = sample.length / batch;
  const kept = image * share;
  const all = new Float32Array(batch * kept);
  for (let i = 0; i < batch; i++) all.set(sample.subarray(i * image, i * image + kept), i * kept);
  return all;
}
