import { z } from 'zod';
import { weightedSum } from './arithmetic.ts';
import { consistencyFields, distilledTimesteps } from './consistency.ts';
import { levelOfVariance, noised } from './level.ts';
import { predictNoise, predictOriginal } from './prediction.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { alphasCumprod } from './schedule.ts';

const f = Math.fround;

export const schema = z.strictObject(consistencyFields('TCDScheduler'));

/**
 * Trajectory consistency distillation (arXiv:2402.19159): each step goes below the next timestep, the farther the
 * greater `eta` (the paper's γ), and back up with new noise. With an `eta` above 0 it draws noise at every step but the
 * last.
 * @throws ServiceError for more steps than distillation had.
 */
export function create(config: z.output<typeof schema>, { steps, eta }: RunOptions): Sampler {
  const alphas = alphasCumprod(config);
  const timesteps = distilledTimesteps(config, steps);

  return {
    timesteps,
    evaluationsPerStep: 1,
    initNoiseSigma: 1,
    scaleInput: (latents) => latents,
    step(output, i, latents, noise) {
      const { alpha, sigma } = levelOfVariance(alphas[timesteps[i]!]!);
      const original = predictOriginal(config.prediction_type, output, latents, alpha, sigma);
      const epsilon = predictNoise(config.prediction_type, output, latents, alpha, sigma);

      const next = timesteps[i + 1] ?? 0;
      const below = alphas[Math.floor(f(f(1 - eta) * next))]!;
      const to = levelOfVariance(below);
      const lower = weightedSum([to.alpha, original], [to.sigma, epsilon]);
      if (eta === 0 || i === timesteps.length - 1) return lower;
      return noised(levelOfVariance(f(alphas[next]! / below)), lower, noise());
    },
    addNoise: (original, noise, i) => noised(levelOfVariance(alphas[timesteps[i]!]!), original, noise),
  };
}
