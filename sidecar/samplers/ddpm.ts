import { z } from 'zod';
import { errors } from '../errors.ts';
import { weightedSum, zip } from './arithmetic.ts';
import { field, noiseScheduleFields, noThresholding } from './config.ts';
import { exp, levelOfVariance, log, noised } from './level.ts';
import { predictOriginal } from './prediction.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { alphasCumprod, roundHalfToEven, spaceTimesteps } from './schedule.ts';

const f = Math.fround;

export const schema = z.strictObject({
  ...noiseScheduleFields('DDPMScheduler'),
  ...noThresholding,
  prediction_type: field.predictionType('epsilon', 'v_prediction', 'sample'),
  timestep_spacing: field.timestepSpacing('leading'),
  rescale_betas_zero_snr: field.flag(false),
  clip_sample: field.flag(true),
  clip_sample_range: z.number().gt(0).default(1),
  // A config of DPM-Solver says null.
  variance_type: z
    .enum(['fixed_small', 'fixed_small_log', 'fixed_large'])
    .nullable()
    .default('fixed_small')
    .transform((type) => type ?? 'fixed_small'),
});

/** The least variance, of which the reference takes the logarithm. */
const MIN_VARIANCE = 1e-20;

/**
 * Denoising diffusion probabilistic models (arXiv:2006.11239): equation 7's mean of x₀ and the latents, and noise of
 * its variance (or, `fixed_large`, of β). Draws noise at every step but one at timestep 0.
 * @throws ServiceError when the run has more steps than training had.
 */
export function create(config: z.output<typeof schema>, { steps }: RunOptions): Sampler {
  const { num_train_timesteps: trained, clip_sample_range: range } = config;
  const alphas = alphasCumprod(config);
  const timesteps = spaceTimesteps(config, steps).map(roundHalfToEven);
  if (timesteps[0]! >= alphas.length) {
    throw errors.invalidArgument('steps', `a number of steps that stays within ${trained} timesteps`, steps);
  }
  const alphaAt = (i: number) => (i < timesteps.length ? alphas[timesteps[i]!]! : 1);

  return {
    timesteps,
    evaluationsPerStep: 1,
    initNoiseSigma: 1,
    scaleInput: (latents) => latents,
    step(output, i, latents, noise) {
      const [alpha, before] = [alphaAt(i), alphaAt(i + 1)];
      const [left, leftBefore] = [f(1 - alpha), f(1 - before)];
      const kept = f(alpha / before);
      const beta = f(1 - kept);

      const at = levelOfVariance(alpha);
      let original = predictOriginal(config.prediction_type, output, latents, at.alpha, at.sigma);
      if (config.clip_sample) original = original.map((x) => Math.min(range, Math.max(-range, x)));
      const mean = weightedSum(
        [f(f(f(Math.sqrt(before)) * beta) / left), original],
        [f(f(f(Math.sqrt(kept)) * leftBefore) / left), latents],
      );
      if (timesteps[i]! <= 0) return mean;

      const posterior = f(Math.max(MIN_VARIANCE, f(f(leftBefore / left) * beta)));
      const deviation = {
        fixed_small: () => f(Math.sqrt(posterior)),
        fixed_small_log: () => exp(f(0.5 * log(posterior))),
        fixed_large: () => f(Math.sqrt(beta)),
      }[config.variance_type]();
      return zip(mean, noise(), (x, n) => x + f(deviation * n));
    },
    addNoise: (original, noise, i) => noised(levelOfVariance(alphaAt(i)), original, noise),
  };
}
