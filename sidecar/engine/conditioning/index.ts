import type { Context, ContextInputs } from '../denoiser.ts';
import type { Model } from '../model.ts';
import type { ReadingOptions } from './reading.ts';
import { encodeStableDiffusion } from './stable-diffusion.ts';
import { encodeStableDiffusionXL, type SizeConditioning } from './stable-diffusion-xl.ts';
import { encodeNothing } from './unconditional.ts';

/** What the images of a request are conditioned on, as the U-Net takes it. */
export interface Conditioning {
  /** Predictions that a step needs of each image: two with guidance. */
  readonly texts: number;
  /** For a batch of `n` images for the first of these texts, then the same `n` for the next. */
  forImages(n: number, texts?: readonly number[]): Promise<Context>;
  /** What that is computed from; a ControlNet computes its own. */
  inputs(n: number, texts?: readonly number[]): ContextInputs;
  dispose(): Promise<void>;
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
  switch (checkpoint.kind) {
    case 'text-to-image':
      return encodeStableDiffusion(model, prompts, exclusive);
    case 'text-to-image-xl':
      return encodeStableDiffusionXL(model, checkpoint, prompts, exclusive);
    case 'unconditional':
      return encodeNothing();
  }
}
