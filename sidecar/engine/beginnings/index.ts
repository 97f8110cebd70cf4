import type { Work } from '../latent-diffusion.ts';
import type { Model } from '../model.ts';
import type { Noise } from '../noise.ts';
import { fromNoise } from './noise.ts';

/** Where a run begins. */
export interface Beginning {
  /** [count,C,h,w] */
  latents: Float32Array;
  /** The first of the sampler's evaluations that is run. */
  first: number;
}

/** Draws from `noise` in the reference's order. */
export async function begin(_: Model, work: Work, noise: Noise): Promise<Beginning> {
  return fromNoise(work, noise);
}
