import type { Plan } from '../graph/plan.ts';
import {
  type AnyCheckpoint,
  type Component,
  planContext,
  planUNet,
  planUnconditionalUNet,
  type UnconditionalCheckpoint,
} from '../models/components.ts';
import { type ControlNetConfig, residualCount } from '../models/controlnet-config.ts';
import { crossAttentionLayers } from '../models/unet.ts';
import type { InputValue, NativeTensor } from '../native.ts';
import { type PlanCost, planCost } from './admission/plan-cost.ts';
import type { LatentSize } from './autoencoder.ts';
import type { ControlNet } from './control/controlnet.ts';
import { Pool } from './pool.ts';
import type { Programs } from './programs.ts';
import { type SharedRows, sharedRows } from './shared-rows.ts';

/**
 * What the U-Net needs of a request, on the device: keys and values of cross-attention, `kv.0`, `kv.1`, …, and in
 * Stable Diffusion XL `add_embedding`. Empty for a model without a prompt.
 */
export type Context = Record<string, NativeTensor>;

export function disposeContext(context: Context): void {
  for (const tensor of Object.values(context)) tensor.dispose();
}

/** What the context of a text is computed from: encoder_hidden_states [T,D] and, in XL, text_embeds [P], time_ids [n]. */
export interface ContextInputs {
  encoder_hidden_states: Float32Array;
  text_embeds?: Float32Array;
  time_ids?: Float32Array;
}

/** A ControlNet's part in a row. */
export interface ControlRow {
  net: ControlNet;
  /** Embedded: [1,h,w,C]. */
  hint: NativeTensor;
  /** Of its residuals. */
  factors: readonly number[];
  /** Its own context of the text. */
  context: Context;
}

/** What a batch is made of: one image under one text, in one step. */
export interface Row {
  /** What the U-Net takes: [C,h,w]. One array for all texts of an image. */
  sample: Float32Array;
  timestep: number;
  /** Of the text: of a batch of one. */
  context: Context;
  controls: readonly ControlRow[];
}

/** What rows have in common that a plan can evaluate at once. */
export interface Kind {
  size: LatentSize;
  /** Of the text. */
  tokens: number;
  nets: readonly ControlNet[];
  /** The same for the same kind. */
  key: string;
}

export function kindOf({ context, controls }: Row, size: LatentSize): Kind {
  const tokens = context['kv.0']?.shape[1] ?? 0;
  const nets = controls.map(({ net }) => net);
  return { size, tokens, nets, key: [shapeKey(size, tokens), composedKey(nets)].join(' ') };
}

/** Of a text's chunk: what is counted where the text is not known; longer ones take little more beside the rest. */
export const TOKENS = 77;

type Nets = readonly Component<ControlNetConfig>[];

/**
 * The plan of so many rows, `texts` of each image, and a name for it, unique among those of a U-Net without ControlNets
 * or with the same.
 */
function prediction(
  checkpoint: AnyCheckpoint,
  batch: number,
  size: LatentSize,
  tokens: number,
  nets: Nets,
  texts = 1,
): [key: string, plan: () => Plan] {
  const { height, width } = size;
  return [
    predictionKey(batch, size, tokens, texts),
    () =>
      checkpoint.kind === 'unconditional'
        ? planUnconditionalUNet(checkpoint, { batch, height, width })
        : planUNet(checkpoint, { batch, texts, height, width, tokens }, nets),
  ];
}

function predictionKey(batch: number, size: LatentSize, tokens: number, texts: number): string {
  return `unet ${batch}${texts > 1 ? `/${texts}` : ''}x${shapeKey(size, tokens)}`;
}

/** What it takes to evaluate so many rows at once. */
export function predictionCost(
  checkpoint: AnyCheckpoint,
  batch: number,
  size: LatentSize,
  tokens: number,
  nets: Nets,
): PlanCost {
  const [key, plan] = prediction(checkpoint, batch, size, tokens, nets);
  return planCost(checkpoint.unet, [[key, ...nets.map(({ dir }) => dir)].join(' '), plan]);
}

/** What rows are measured by: the same for a model that is loaded and one that is not, with adapters and without. */
export function rowsKey({ unet }: AnyCheckpoint, { height, width }: LatentSize, nets: Nets): string {
  return [unet.dir, `${height}x${width}`, ...nets.map(({ dir }) => dir)].join(' ');
}

/** Sets of ControlNets that a U-Net is kept composed with. */
const MAX_COMPOSED = 16;

let made = 0;

/** A U-Net on a device: what predicts the noise, or what the model was trained to predict. */
export class Denoiser {
  /** Of all that are loaded, also of one model with and without adapters. */
  readonly id = ++made;
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

  /** Of one text. To be disposed of, tensor by tensor. */
  async context(inputs: ContextInputs): Promise<Context> {
    const { unet } = this.#conditional();
    const tokens = inputs.encoder_hidden_states.length / unet.config.cross_attention_dim;
    const timeIds = inputs.time_ids?.length;
    const keep = crossAttentionLayers(unet.config).map((_, i) => `kv.${i}`);
    if (unet.config.added) keep.push('add_embedding');
    const outputs = await this.#programs.run(
      `context 1x${tokens}`,
      () => planContext({ unet }, { batch: 1, tokens, ...(timeIds && { timeIds }) }),
      { ...inputs },
      { keep },
    );
    return outputs as Context;
  }

  /** The predictions of rows of one kind, each [outChannels,h,w]; a row's does not depend on the others. */
  async predict({ size, tokens, nets }: Kind, given: readonly Row[]): Promise<Float32Array[]> {
    const batch = given.length;
    const { order, texts } = this.#shared(given);
    const rows = order.map((i) => given[i]!);
    const images = rows.filter((_, i) => i % texts === 0);
    const inputs: Record<string, InputValue> = {
      sample: images.map(({ sample }) => sample),
      timestep: Float32Array.from(images, ({ timestep }) => timestep),
    };
    const put = (prefix: string, contexts: readonly Context[]) => {
      for (const name of Object.keys(contexts[0]!))
        inputs[prefix + name] = contexts.map((context) => context[name]!);
    };
    put(
      '',
      rows.map(({ context }) => context),
    );
    for (const [i, net] of nets.entries()) {
      const parts = rows.map(({ controls }) => controls[i]!);
      inputs[`control.${i}.hint`] = images.map(({ controls }) => controls[i]!.hint);
      const R = residualCount(net.config);
      inputs[`control.${i}.scales`] = Float32Array.from(
        { length: R * batch },
        (_, j) => parts[j % batch]!.factors[Math.floor(j / batch)]!,
      );
      put(
        `control.${i}.`,
        parts.map(({ context }) => context),
      );
    }
    // What a ControlNet sees of an inpainting model's input: the latents alone, its first channels.
    if (nets.some(({ config }) => config.in_channels !== this.inChannels)) {
      const seen = this.outChannels * size.height * size.width;
      inputs['control.sample'] = images.map(({ sample }) => sample.subarray(0, seen));
    }
    const outputs = await this.#with(nets, (programs) =>
      programs.run(...prediction(this.#checkpoint, batch, size, tokens, componentsOf(nets), texts), inputs),
    );
    const all = outputs.sample as Float32Array;
    const each = all.length / batch;
    const predictions = new Array<Float32Array>(batch);
    for (const [at, i] of order.entries()) predictions[i] = all.subarray(at * each, (at + 1) * each);
    return predictions;
  }

  /** Whether the program that evaluates these rows is compiled; of a number, one for so many rows of whatever images. */
  isReady({ size, tokens, nets }: Kind, rows: number | readonly Row[]): boolean {
    const programs = nets.length === 0 ? this.#programs : this.#composed.peek(composedKey(nets));
    const isCompiled = (batch: number, texts: number) =>
      programs?.isCompiled(predictionKey(batch, size, tokens, texts)) ?? false;
    if (typeof rows !== 'number') return isCompiled(rows.length, this.#shared(rows).texts);
    return Array.from({ length: rows }, (_, i) => i + 1).some(
      (texts) => rows % texts === 0 && isCompiled(rows, texts),
    );
  }

  /** In Stable Diffusion XL all depends on the text from the start. */
  #shared(rows: readonly Row[]): SharedRows {
    const { config } = this.#checkpoint.unet;
    return 'added' in config && config.added ? { order: [...rows.keys()], texts: 1 } : sharedRows(rows);
  }

  /** Bytes that so many rows take while they are evaluated. */
  kindBytes({ size, tokens, nets }: Kind, rows: number): number {
    return predictionCost(this.#checkpoint, rows, size, tokens, componentsOf(nets)).bytes;
  }

  /** What rows of a kind are measured by. */
  rowsKey({ size, nets }: Kind): string {
    return rowsKey(this.#checkpoint, size, componentsOf(nets));
  }

  /** Runs `work` with this U-Net's programs, or those that have ControlNets in them. */
  #with<R>(nets: readonly ControlNet[], work: (programs: Programs) => Promise<R>): Promise<R> {
    if (nets.length === 0) return work(this.#programs);
    const key = composedKey(nets);
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

function shapeKey({ height, width }: LatentSize, tokens: number): string {
  return `${height}x${width}x${tokens}`;
}

function componentsOf(nets: readonly ControlNet[]): Nets {
  return nets.map(({ component }) => component);
}

function composedKey(nets: readonly ControlNet[]): string {
  return nets.map(({ id }) => `#${id}`).join('+');
}
