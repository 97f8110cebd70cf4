import { errors } from '../errors.ts';
import { classifierFreeGuidance, rescaleGuidance } from '../samplers/guidance.ts';
import type { Sampler } from '../samplers/index.ts';
import { Conditioning } from './conditioning.ts';
import type { Evaluator } from './evaluator.ts';
import type { LatentSize, Model } from './model.ts';
import { Noise } from './noise.ts';
import type { Pixels } from './png.ts';
import type { Estimate } from './preview.ts';

/** What to make, with every default filled in. */
export interface TextToImage {
  prompt: string;
  negativePrompt: string;
  /** Of the latents. */
  size: LatentSize;
  count: number;
  seeds: number[];
  sampler: Sampler;
  guidanceScale: number;
  guidanceRescale: number;
  clipSkip: number;
  /** Whether to show what a step has come to: steps count from 1. */
  previewAt: (step: number, total: number) => boolean;
  estimate: Estimate;
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
  signal?: AbortSignal;
  onStep?: (step: Step) => void | Promise<void>;
}

export interface Outcome {
  /** [count,C,h,w], before the autoencoder's scaling is undone; `shape` is that of one image. */
  latents: Float32Array;
  shape: [C: number, h: number, w: number];
  images: Pixels[];
  stepsRun: number;
  /** Tokens of the texts that were encoded, without padding. */
  textTokens: number;
  /** Tokens that did not fit. */
  cutTokens: { prompt: number; negative_prompt: number };
  timings: { encodeTextMs: number; denoiseMs: number; decodeMs: number };
}

/**
 * Latent diffusion (arXiv:2112.10752): noise in the autoencoder's latent space, made into an image's latents step by
 * step under the guidance of a text, and decoded. Draws and rounds as diffusers' StableDiffusionPipeline does.
 * @throws the signal's reason, at most one step after it fired.
 */
export async function textToImage(model: Model, p: TextToImage, run: Run): Promise<Outcome> {
  const { evaluator, signal } = run;
  const { sampler, size, count } = p;
  const watch = stopwatch();

  const text = await encodeTexts(model, p, run);
  const encodeTextMs = watch();
  try {
    const noise = new Noise(p.seeds, count);
    const shape: Outcome['shape'] = [model.checkpoint.unet.config.in_channels, size.height, size.width];
    const elements = shape.reduce((a, b) => a * b);
    let latents: Float32Array = noise.draw(elements).map((z) => z * sampler.initNoiseSigma);

    const total = sampler.timesteps.length;
    for (const [i, timestep] of sampler.timesteps.entries()) {
      const lap = stopwatch();
      const sample = sampler.scaleInput(latents, i);
      const { conditioning } = text;
      const predictions = await evaluator.evaluate(
        { model, conditioning, sample, images: count, size, timestep },
        signal,
      );
      const prediction = finite(guided(predictions, p), `the U-Net's prediction at step ${i + 1}`, model);
      latents = sampler.step(prediction, i, latents, () => noise.draw(elements));
      const stepMs = lap();
      const previews = p.previewAt(i + 1, total)
        ? await decodeImages(model, p.estimate(prediction, sample, timestep), p, run)
        : [];
      await run.onStep?.({ step: i + 1, total, stepMs, previews });
    }
    const denoiseMs = watch();

    const images = await decodeImages(model, latents, p, run);
    const { textTokens, cutTokens } = text;
    const timings = { encodeTextMs, denoiseMs, decodeMs: watch() };
    return { latents, shape, images, stepsRun: total, textTokens, cutTokens, timings };
  } finally {
    await text.conditioning.dispose();
  }
}

/** Prompt, and with guidance the negative prompt before it, as what the U-Net attends to. */
async function encodeTexts(model: Model, p: TextToImage, { evaluator, signal }: Run) {
  const prompt = model.tokenize(p.prompt);
  const encode = (ids: Int32Array, clipSkip: number) =>
    evaluator.exclusive(() => model.encodeText(ids, 1, clipSkip), signal);
  const encodings = [await encode(prompt.ids, p.clipSkip)];
  let textTokens = prompt.used;
  const cutTokens = { prompt: prompt.cut, negative_prompt: 0 };
  if (p.guidanceScale > 1) {
    const negative = model.tokenize(p.negativePrompt);
    // As in the reference, the negative prompt goes through all layers.
    encodings.unshift(await encode(negative.ids, 0));
    textTokens += negative.used;
    cutTokens.negative_prompt = negative.cut;
  }
  for (const encoding of encodings) finite(encoding, 'the text encoding', model);
  return { conditioning: new Conditioning(model, encodings), textTokens, cutTokens };
}

/** One prediction out of [unconditional, conditional], or the conditional one as it is. */
function guided([first, conditional]: Float32Array[], p: TextToImage): Float32Array {
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
  p: TextToImage,
  run: Run,
): Promise<Pixels[]> {
  const images: Pixels[] = [];
  const elements = latents.length / p.count;
  const { scaling_factor } = model.checkpoint.vae.config;
  for (let i = 0; i < p.count; i++) {
    const unscaled = latents.subarray(i * elements, (i + 1) * elements).map((z) => z / scaling_factor);
    const image = await run.evaluator.exclusive(() => model.decode(unscaled, p.size), run.signal);
    images.push(toPixels(finite(image, 'the decoded image', model), p.size, model.scale));
  }
  return images;
}

/** [3,H,W] in −1…1 → RGB, 8 bits each. */
function toPixels(image: Float32Array, size: LatentSize, scale: number): Pixels {
  const [width, height] = [size.width * scale, size.height * scale];
  const area = width * height;
  const data = new Uint8Array(3 * area);
  for (let c = 0; c < 3; c++)
    for (let i = 0; i < area; i++) {
      const unit = Math.min(1, Math.max(0, image[c * area + i]! / 2 + 0.5));
      data[3 * i + c] = Math.round(unit * 255);
    }
  return { data, width, height };
}

/** The values, when none is NaN or infinite. */
function finite(values: Float32Array, what: string, model: Model): Float32Array {
  let sum = 0;
  for (const value of values) sum += value * 0;
  if (Number.isNaN(sum)) throw errors.notFinite(what, model.name);
  return values;
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
