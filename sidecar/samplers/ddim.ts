import { z } from 'zod';
import { errors } from '../errors.ts';
import { weightedSum, zip } from './arithmetic.ts';
import { field, noiseScheduleFields, noThresholding } from './config.ts';
import { levelOfVariance, noised } from './level.ts';
import { predictNoise, predictOriginal } from './prediction.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { alphasCumprod, roundHalfToEven, spaceTimesteps } from './schedule.ts';

const f = Math.fround;

export const schema = z.strictObject({
  ...noiseScheduleFields('DDIMScheduler'),
  ...noThresholding,
  prediction_type: field.predictionType('epsilon', 'v_prediction', 'sample'),
  timestep_spacing: field.timestepSpacing('leading'),
  rescale_betas_zero_snr: field.flag(false),
  clip_sample: field.flag(true),
  clip_sample_range: z.number().gt(0).default(1),
  set_alpha_to_one: field.flag(true),
});

/**
 * Denoising diffusion implicit models (arXiv:2010.02502): equation 12, with σ of equation 16 scaled by `eta`.
 * Draws noise at every step, the last included, when eta > 0.
 * @throws ServiceError when the run has more steps than training had.
 */
export function create(config: z.output<typeof schema>, { steps, eta }: RunOptions): Sampler {
  const { num_train_timesteps: trained, clip_sample_range: range } = config;
  const alphas = alphasCumprod(config);
  const timesteps = spaceTimesteps(config, steps).map(roundHalfToEven);
  if (timesteps[0]! >= alphas.length) {
    throw errors.invalidArgument('steps', `a number of steps that stays within ${trained} timesteps`, steps);
  }
  const stride = Math.floor(trained / steps);
  const alphaAt = (t: number) => (t >= 0 ? alphas[t]! : config.set_alpha_to_one ? 1 : alphas[0]!);

  return {
    timesteps,
    evaluationsPerStep: 1,
    initNoiseSigma: 1,
    scaleInput: (latents) => latents,
    step(output, i, latents, noise) {
      const t = timesteps[i]!;
      const alpha = alphaAt(t);
      const before = alphaAt(t - stride);
      const [image, spread] = [f(Math.sqrt(alpha)), f(Math.sqrt(f(1 - alpha)))];

      const epsilon = predictNoise(config.prediction_type, output, latents, image, spread);
      let original = predictOriginal(config.prediction_type, output, latents, image, spread);
      if (config.clip_sample) original = original.map((x) => Math.min(range, Math.max(-range, x)));

      const variance = f(f(f(1 - before) / f(1 - alpha)) * f(1 - f(alpha / before)));
      const deviation = f(f(eta) * f(Math.sqrt(variance)));
      const direction = f(Math.sqrt(Math.max(0, f(f(1 - before) - f(deviation * deviation)))));
      const previous = weightedSum([f(Math.sqrt(before)), original], [direction, epsilon]);
      return eta > 0 ? zip(previous, noise(), (x, n) => x + f(deviation * n)) : previous;
    },
    addNoise: (original, noise, i) => noised(levelOfVariance(alphas[timesteps[i]!]!), original, noise),
  };
}
