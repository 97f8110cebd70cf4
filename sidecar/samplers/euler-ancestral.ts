import { z } from 'zod';
import { zip } from './arithmetic.ts';
import { field, noiseScheduleFields } from './config.ts';
import { denoise } from './prediction.ts';
import { ancestralStep, initialSigma, noisedBy, runInSigma, scaleToUnitVariance } from './run-in-sigma.ts';
import type { RunOptions, Sampler } from './sampler.ts';

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
export function create(config: z.output<typeof schema>, options: RunOptions): Sampler {
  const { timesteps, sigmas } = runInSigma(config, options);
  return {
    timesteps,
    sigmas,
    evaluationsPerStep: 1,
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
    addNoise: (original, noise, i) => noisedBy(sigmas[i]!, original, noise),
  };
}
