import { z } from 'zod';
import { type Tensor, zip } from './arithmetic.ts';
import { field, noiseScheduleFields, sigmaFields } from './config.ts';
import { denoise } from './prediction.ts';
import { initialSigma, noisedBy, runInSigma, scaleToUnitVariance } from './run-in-sigma.ts';
import type { RunOptions, Sampler } from './sampler.ts';

const f = Math.fround;

export const schema = z.strictObject({
  ...noiseScheduleFields('HeunDiscreteScheduler', { beta_start: 0.00085, beta_end: 0.012 }),
  ...sigmaFields,
  prediction_type: field.predictionType('epsilon', 'v_prediction', 'sample'),
  timestep_spacing: field.timestepSpacing('linspace'),
  clip_sample: field.flag(false),
  clip_sample_range: z.number().gt(0).default(1),
});

/**
 * Heun's method on the probability flow ODE in σ (arXiv:2206.00364, algorithm 1 with γ = 0): Euler's step, then that
 * step again with the mean of the derivatives at both of its ends. The last step, down to 0, is Euler's. Draws no
 * noise.
 */
export function create(config: z.output<typeof schema>, options: RunOptions): Sampler {
  const { timesteps, sigmas } = runInSigma(config, options);
  const { clip_sample_range: range } = config;
  /** The σ of an evaluation, two a step: at the step's beginning, and at its end. */
  const sigmaOf = (i: number) => sigmas[(i + 1) >> 1]!;
  let start: { latents: Tensor; derivative: Tensor } | undefined;

  return {
    timesteps: [timesteps[0]!, ...timesteps.slice(1).flatMap((t) => [t, t])],
    sigmas,
    evaluationsPerStep: 2,
    initNoiseSigma: initialSigma(config, sigmas),
    scaleInput: (latents, i) => scaleToUnitVariance(latents, sigmaOf(i)),
    step(output, i, latents) {
      const sigma = sigmaOf(i);
      let original = denoise(config.prediction_type, output, latents, sigma);
      if (config.clip_sample) original = original.map((x) => Math.min(range, Math.max(-range, x)));
      const derivative = zip(latents, original, (x, x0) => f(x - x0) / sigma);
      if (i % 2 === 0) {
        start = { latents, derivative };
        const distance = f(sigmas[i / 2 + 1]! - sigma);
        return zip(latents, derivative, (x, d) => x + f(d * distance));
      }
      const distance = f(sigma - sigmaOf(i - 1));
      const mean = zip(start!.derivative, derivative, (a, b) => f(a + b) / 2);
      return zip(start!.latents, mean, (x, d) => x + f(d * distance));
    },
    addNoise: (original, noise, i) => noisedBy(sigmaOf(i), original, noise),
  };
}
