import { classifierFreeGuidance, rescaleGuidance } from '../samplers/guidance.ts';
import type { Sampler } from '../samplers/index.ts';
import type { LatentSize } from './autoencoder.ts';
import type { Ticket } from './batching/ticket.ts';
import { begin, type Enlarged, type Source, type Unfinished } from './beginnings/index.ts';
import { type Exclusive, encodePrompts, type Prompts } from './conditioning/index.ts';
import { join } from './conditioning/text.ts';
import { type Control, Controls } from './control/controls.ts';
import { stepOf } from './control/factors.ts';
import type { Decoder, Decoders } from './decoders/decoder.ts';
import { type Context, disposeContext } from './denoiser.ts';
import type { Evaluator } from './evaluator.ts';
import { finite } from './finite.ts';
import type { Model } from './model.ts';
import { Noise } from './noise.ts';
import type { Pixels } from './png.ts';
import type { Estimate } from './preview.ts';
import { type OnStage, stages } from './stage.ts';

/** What to make, with every default filled in. */
export interface Work extends Prompts {
  /** Of one image's latents. */
  shape: [C: number, h: number, w: number];
  count: number;
  seeds: number[];
  sampler: Sampler;
  guidanceRescale: number;
  /** Steps asked for, of which the sampler may make more evaluations. */
  steps: number;
  /** ControlNets that take part. */
  controls?: readonly Control[] | undefined;
  /** What to begin from; none: noise. */
  source?: Source | Unfinished | Enlarged | undefined;
  /** The sampler's evaluation to stop before, for another run to go on from; none: run all, and decode. */
  end?: number | undefined;
  /** Whether to show what a step has come to: steps count from 1. */
  previewAt: (step: number, total: number) => boolean;
  estimate: Estimate;
  /** What makes pictures, where it is not the model's autoencoder. */
  decoders?: Decoders | undefined;
}

export interface Step {
  /** Steps done, 1…total. */
  step: number;
  total: number;
  stepMs: number;
  /** One picture for each image, at steps that have a preview. */
  previews: Pixels[];
}

export interface Run {
  evaluator: Evaluator;
  /** The request's: its steps to go are counted on it. */
  ticket: Ticket;
  /** Steps that follow this run, those of each image. */
  ahead?: number;
  onStep?: (step: Step) => void | Promise<void>;
  onStage?: OnStage | undefined;
  /** A decode that overflowed in half precision was done again in float32. */
  onRepeatedDecode?: () => void;
}

export interface Outcome {
  /** [count,C,h,w], before the autoencoder's scaling is undone; `shape` is that of one image. */
  latents: Float32Array;
  shape: Work['shape'];
  images: Pixels[];
  stepsRun: number;
  /** Tokens of the texts that were encoded, without padding. */
  textTokens: number;
  /** Tokens that did not fit. */
  cutTokens: { prompt: number; negative_prompt: number };
  timings: { encodeTextMs: number; encodeImageMs: number; denoiseMs: number; decodeMs: number };
}

/**
 * Latent diffusion (arXiv:2112.10752): noise in the autoencoder's latent space, made into an image's latents step by
 * step under the guidance of a text, and decoded. Draws and rounds as diffusers' pipelines do.
 * @throws the reason of the ticket's signal, at most one step after it fired.
 */
export async function latentDiffusion(model: Model, p: Work, run: Run): Promise<Outcome> {
  const { evaluator, ticket, ahead = 0 } = run;
  const { sampler, count } = p;
  const [C, height, width] = p.shape;
  const size = { height, width };
  const watch = stopwatch();
  const over = stages(run.onStage);

  const exclusive: Exclusive = (work) => evaluator.exclusive(work, ticket);
  const end = p.end ?? sampler.timesteps.length;
  ticket.stepsLeft = (end - (p.source?.first ?? 0)) * count + ahead;

  const text = await encodePrompts(model, p, exclusive);
  const encodeTextMs = watch();
  over('encode text', { tokens: text.textTokens });
  const { conditioning } = text;
  const controls = new Controls(p.controls ?? [], conditioning, size);
  let contexts: Context[] = [];
  try {
    const noise = new Noise(p.seeds, count);
    const { first, beside, hold, ...beginning } = await begin(model, p, noise, exclusive, ticket.signal);
    let { latents } = beginning;
    const encodeImageMs = watch();

    contexts = await exclusive(() => conditioning.contexts());
    over('begin');
    const timesteps = sampler.timesteps.slice(first, end);
    const total = timesteps.length;
    for (const [step, timestep] of timesteps.entries()) {
      const lap = stopwatch();
      const i = first + step;
      const sample = sampler.scaleInput(latents, i);
      const input = beside ? joinChannels(sample, beside, count) : sample;
      const place = { i: step, total, step: stepOf(i, p.steps, sampler.timesteps.length) };
      const groups = controls.at(place, conditioning.texts);
      const predictions = await evaluator.evaluate(
        { denoiser: model.denoiser, contexts, sample: input, images: count, size, timestep, groups },
        ticket,
      );
      const prediction = finite(guided(predictions, p), `the U-Net's prediction at step ${step + 1}`, model);
      latents = sampler.step(prediction, i, latents, () => noise.draw(C * height * width));
      latents = hold?.(latents, i) ?? latents;
      const stepMs = lap();
      over('step', { step: step + 1, total, images: count }, ticket.takeMates());
      ticket.stepMs = stepMs / count;
      ticket.stepsLeft -= count;
      const previews = p.previewAt(step + 1, total)
        ? await decodeImages(model, p.estimate(prediction, sample, timestep), p, run, p.decoders?.previews)
        : [];
      await run.onStep?.({ step: step + 1, total, stepMs, previews });
      if (previews.length > 0) over('preview', { images: previews.length });
    }
    const denoiseMs = watch();

    const images = p.end === undefined ? await decodeImages(model, latents, p, run, p.decoders?.images) : [];
    if (images.length > 0) over('decode', { images: images.length });
    const { textTokens, cutTokens } = text;
    const timings = { encodeTextMs, encodeImageMs, denoiseMs, decodeMs: watch() };
    return { latents, shape: p.shape, images, stepsRun: total, textTokens, cutTokens, timings };
  } finally {
    controls.dispose();
    contexts.forEach(disposeContext);
  }
}

/** [count,C1,h,w], [count,C2,h,w] → [count,C1+C2,h,w] */
function joinChannels(a: Float32Array, b: Float32Array, count: number): Float32Array {
  const part = (x: Float32Array, i: number) =>
    x.subarray((i * x.length) / count, ((i + 1) * x.length) / count);
  return join(Array.from({ length: count }, (_, i) => [part(a, i), part(b, i)]).flat());
}

/** One prediction out of [unconditional, conditional], or the conditional one as it is. */
function guided([first, conditional]: Float32Array[], p: Work): Float32Array {
  if (!conditional) return first!;
  const prediction = classifierFreeGuidance(first!, conditional, p.guidanceScale);
  if (p.guidanceRescale === 0) return prediction;
  const size = prediction.length / p.count;
  for (let from = 0; from < prediction.length; from += size) {
    const image = (tensor: Float32Array) => tensor.subarray(from, from + size);
    prediction.set(rescaleGuidance(image(prediction), image(conditional), p.guidanceRescale), from);
  }
  return prediction;
}

/** latents [count,C,h,w] → pictures, one after the other: the decoder needs the most memory of all. */
async function decodeImages(
  model: Model,
  latents: Float32Array,
  p: Work,
  run: Run,
  decoder: Decoder = model.autoencoder,
): Promise<Pixels[]> {
  const images: Pixels[] = [];
  const elements = latents.length / p.count;
  const [, height, width] = p.shape;
  const size = { height, width };
  for (let i = 0; i < p.count; i++) {
    const one = latents.subarray(i * elements, (i + 1) * elements);
    const decode = () => decoder.decode(one, size);
    const { image, isRepeated } = await run.evaluator.exclusive(decode, run.ticket);
    if (isRepeated) run.onRepeatedDecode?.();
    images.push(toPixels(finite(image, 'the decoded image', model), size, decoder.scale));
  }
  return images;
}

/** [3,H,W] in −1…1 → RGB, 8 bits each. */
function toPixels(image: Float32Array, size: LatentSize, scale: number): Pixels {
  const [width, height] = [size.width * scale, size.height * scale];
  const area = width * height;
  // It clamps, and rounds to nearest.
  const data = new Uint8ClampedArray(3 * area);
  for (let i = 0, at = 0; i < area; i++)
    for (let c = 0; c < 3; c++) data[at++] = 255 * (image[c * area + i]! / 2 + 0.5);
  return { data: new Uint8Array(data.buffer), width, height };
}

/** Milliseconds since the last call. */
function stopwatch(): () => number {
  let last = performance.now();
  return () => {
    const now = performance.now();
    const ms = now - last;
    last = now;
    return ms;
  };
}
