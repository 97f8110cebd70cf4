import type { Work } from '../latent-diffusion.ts';
import type { Noise } from '../noise.ts';
import type { Beginning } from './index.ts';

/** Noise alone, as strong as the sampler wants it. */
export function fromNoise({ sampler, shape }: Work, noise: Noise): Beginning {
  const [C, h, w] = shape;
  const latents = noise.draw(C * h * w).map((z) => z * sampler.initNoiseSigma);
  return { latents, first: 0 };
}
