import type { Context, ContextInputs } from '../denoiser.ts';
import type { Model } from '../model.ts';
import { type Reading, type ReadingOptions, readTexts } from './reading.ts';
import { encodeStableDiffusion, lastStates } from './stable-diffusion.ts';
import { encodeStableDiffusionXL, penultimateStates, type SizeConditioning } from './stable-diffusion-xl.ts';
import { TextConditioning, type TextEncoding } from './text.ts';
import { encodeNothing } from './unconditional.ts';

/** What the images of a request are conditioned on, as the U-Net takes it. */
export interface Conditioning {
  /** Predictions that a step needs of each image: two with guidance. */
  readonly texts: number;
  /** Of each text, computed by the device; they stay there until they are disposed of. */
  contexts(): Promise<Context[]>;
  /** What that of a text is computed from; a ControlNet computes its own. */
  inputs(text: number): ContextInputs;
}

/** What a request says of it. */
export interface Prompts extends ReadingOptions {
  prompt: string;
  negativePrompt: string;
  /** Above 1: guidance, for which the negative prompt is needed. */
  guidanceScale: number;
  clipSkip: number;
  /** Stable Diffusion XL's other conditions. */
  sizes: SizeConditioning;
  /** What the texts have been encoded to already, the negative one first: then they are not read. */
  encodings?: TextEncoding[] | undefined;
}

export interface Encoded {
  conditioning: Conditioning;
  /** Tokens of the texts that were encoded, without padding. */
  textTokens: number;
  /** Tokens that did not fit. */
  cutTokens: { prompt: number; negative_prompt: number };
}

/** Runs work on the device, when its turn comes. */
export type Exclusive = <T>(work: () => Promise<T>) => Promise<T>;

/** Encodes a request's texts as its model wants them. */
export function encodePrompts(model: Model, prompts: Prompts, exclusive: Exclusive): Promise<Encoded> {
  const { checkpoint } = model;
  if (prompts.encodings) {
    const conditioning = new TextConditioning(model.denoiser, prompts.encodings);
    return Promise.resolve({ conditioning, textTokens: 0, cutTokens: { prompt: 0, negative_prompt: 0 } });
  }
  switch (checkpoint.kind) {
    case 'text-to-image':
      return encodeStableDiffusion(model, prompts, exclusive);
    case 'text-to-image-xl':
      return encodeStableDiffusionXL(model, checkpoint, prompts, exclusive);
    case 'unconditional':
      return encodeNothing();
  }
}

/**
 * Encodes texts by themselves, all of them to the same number of tokens.
 * @returns of each its states, [T,D], in Stable Diffusion XL also its summary, [P], and how it was read.
 */
export async function encodeTexts(
  model: Model,
  texts: string[],
  { clipSkip, ...options }: ReadingOptions & { clipSkip: number },
  exclusive: Exclusive,
): Promise<{ encodings: { states: Float32Array; pooled?: Float32Array }[]; readings: Reading[] }> {
  const readings = await readTexts(model, texts, options);
  const encode = model.checkpoint.kind === 'text-to-image-xl' ? penultimateStates : lastStates;
  const encodings = [];
  for (const reading of readings) encodings.push(await encode(model, reading, clipSkip, exclusive));
  return { encodings, readings };
}
