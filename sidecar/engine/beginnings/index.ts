import type { Exclusive } from '../conditioning/index.ts';
import type { Work } from '../latent-diffusion.ts';
import type { MaskedContent } from '../masked-content.ts';
import type { Model } from '../model.ts';
import type { Noise } from '../noise.ts';
import type { Picture } from '../picture.ts';
import { fromImage, noised } from './image.ts';
import { inpaint } from './inpaint.ts';
import { fromNoise } from './noise.ts';

/** Latents that another run left midway. */
export interface Unfinished {
  /** [count,C,h,w] */
  latents: Float32Array;
  /** The first of the sampler's evaluations that is run. */
  first: number;
}

/** Latents of a picture, without noise. */
export interface Enlarged {
  /** [count,C,h,w] */
  original: Float32Array;
  /** The first of the sampler's evaluations that is run. */
  first: number;
}

/** A picture that a run begins from. */
export interface Source {
  image: Picture;
  /** Inpainting: white is what to make anew. */
  mask?: Picture | undefined;
  /** What is made anew begins from; none: the image. */
  content?: MaskedContent;
  /** Whether nothing of the image is to be left where it is made anew: strength 1. */
  isNoise: boolean;
  /** The first of the sampler's evaluations that is run. */
  first: number;
}

/** Where a run begins. */
export interface Beginning {
  /** [count,C,h,w] */
  latents: Float32Array;
  /** The first of the sampler's evaluations that is run. */
  first: number;
  /** Further channels of what the U-Net is given, the same at each step: [count,C',h,w]. */
  beside?: Float32Array;
  /** The latents after evaluation `i`, held to the picture where it is to stay. */
  hold?: (latents: Float32Array, i: number) => Float32Array;
}

/**
 * Draws from `noise` in the reference's order.
 * @throws the signal's reason.
 */
export async function begin(
  model: Model,
  work: Work,
  noise: Noise,
  exclusive: Exclusive,
  signal?: AbortSignal,
): Promise<Beginning> {
  const { source } = work;
  if (!source) return fromNoise(work, noise);
  if ('latents' in source) return source;
  if ('original' in source) return noised(work, source.original, source.first, noise);
  if (source.mask) return inpaint(model, work, { ...source, mask: source.mask }, noise, exclusive, signal);
  return fromImage(model, work, source, noise, exclusive);
}
