import type { Exclusive } from '../conditioning/index.ts';
import type { Work } from '../latent-diffusion.ts';
import type { Model } from '../model.ts';
import type { Noise } from '../noise.ts';
import type { Picture } from '../picture.ts';
import { fromImage } from './image.ts';
import { fromNoise } from './noise.ts';

/** A picture that a run begins from. */
export interface Source {
  image: Picture;
  /** The first of the sampler's evaluations that is run. */
  first: number;
}

/** Where a run begins. */
export interface Beginning {
  /** [count,C,h,w] */
  latents: Float32Array;
  /** The first of the sampler's evaluations that is run. */
  first: number;
}

/** Draws from `noise` in the reference's order. */
export async function begin(
  model: Model,
  work: Work,
  noise: Noise,
  exclusive: Exclusive,
): Promise<Beginning> {
  const { source } = work;
  if (!source) return fromNoise(work, noise);
  return fromImage(model, work, source, noise, exclusive);
}
