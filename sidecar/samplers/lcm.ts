import { z } from 'zod';
import { weightedSum } from './arithmetic.ts';
import { consistencyFields, distilledTimesteps } from './consistency.ts';
import { levelOfVariance, noised } from './level.ts';
import { predictOriginal } from './prediction.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { alphasCumprod } from './schedule.ts';

const f = Math.fround;

/** σ_data² of the boundary condition. */
const DATA_VARIANCE = 0.25;

export const schema = z.strictObject(consistencyFields('LCMScheduler'));

/**
 * Latent consistency models (arXiv:2310.04378, algorithm 3): each step goes to x₀ at once, and back up with new noise.
 * Draws noise at every step but the last.
 * @throws ServiceError for more steps than distillation had.
 */
export function create(config: z.output<typeof schema>, { steps }: RunOptions): Sampler {
  const { clip_sample_range: range } = config;
  const alphas = alphasCumprod(config);
  const timesteps = distilledTimesteps(config, steps);
  const levelAt = (i: number) => levelOfVariance(alphas[timesteps[i]!]!);

  return {
    timesteps,
    evaluationsPerStep: 1,
    initNoiseSigma: 1,
    scaleInput: (latents) => latents,
    step(output, i, latents, noise) {
      const { alpha, sigma } = levelAt(i);
      let original = predictOriginal(config.prediction_type, output, latents, alpha, sigma);
      if (config.clip_sample) original = original.map((x) => Math.min(range, Math.max(-range, x)));

      const scaled = f(timesteps[i]! * config.timestep_scaling);
      const sum = f(f(scaled * scaled) + DATA_VARIANCE);
      const denoised = weightedSum(
        [f(scaled / f(Math.sqrt(sum))), original],
        [f(DATA_VARIANCE / sum), latents],
      );
      return i === timesteps.length - 1 ? denoised : noised(levelAt(i + 1), denoised, noise());
    },
    addNoise: (original, noise, i) => noised(levelAt(i), original, noise),
  };
}
