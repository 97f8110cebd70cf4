import { z } from 'zod';
import { zip } from './arithmetic.ts';
import { field, noiseScheduleFields } from './config.ts';
import { initialSigma, scaleToUnitVariance } from './euler.ts';
import { denoise } from './prediction.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { alphasCumprodAboveZero, spaceTimesteps, trainingSigmas } from './schedule.ts';
import { sigmasAt } from './sigmas.ts';

const f = Math.fround;

export const schema = z.strictObject({
  ...noiseScheduleFields('EulerAncestralDiscreteScheduler'),
  prediction_type: field.predictionType('epsilon', 'v_prediction'),
  timestep_spacing: field.timestepSpacing('linspace'),
  rescale_betas_zero_snr: field.flag(false),
});

/**
 * Ancestral sampling with Euler's method: each step goes below the next σ and adds noise up to it
 * (sample_euler_ancestral of github.com/crowsonkb/k-diffusion). Draws noise at every step, the last included.
 */
export function create(config: z.output<typeof schema>, { steps }: RunOptions): Sampler {
  const timesteps = spaceTimesteps(config, steps).map(f);
  const training = trainingSigmas(alphasCumprodAboveZero(config));
  const sigmas = [...sigmasAt(timesteps, training), 0].map(f);

  return {
    timesteps,
    sigmas,
    initNoiseSigma: initialSigma(config, sigmas),
    scaleInput: (latents, i) => scaleToUnitVariance(latents, sigmas[i]!),
    step(output, i, latents, noise) {
      const [sigma, next] = [sigmas[i]!, sigmas[i + 1]!];
      const { up, down } = ancestralStep(sigma, next);
      const original = denoise(config.prediction_type, output, latents, sigma);
      const distance = f(down - sigma);
      const lower = zip(latents, original, (x, x0) => x + f(f(f(x - x0) / sigma) * distance));
      return zip(lower, noise(), (x, n) => x + f(n * up));
    },
  };
}

/** How far down to go from σ, and how much noise to add, to arrive at `next` with the right variance. */
function ancestralStep(sigma: number, next: number): { up: number; down: number } {
  const [from, to] = [f(sigma * sigma), f(next * next)];
  const up = f(Math.sqrt(f(f(to * f(from - to)) / from)));
  return { up, down: f(Math.sqrt(Math.max(0, f(to - f(up * up))))) };
}
