import { z } from 'zod';
import { zip } from './arithmetic.ts';
import { field, noiseScheduleFields, sigmaFields } from './config.ts';
import { denoise } from './prediction.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { alphasCumprodAboveZero, linspace32, spaceTimesteps, trainingSigmas } from './schedule.ts';
import { sigmaScheduleOf, sigmaSchedules, sigmasAt, timestepAt } from './sigmas.ts';

const f = Math.fround;

export const schema = z.strictObject({
  ...noiseScheduleFields('EulerDiscreteScheduler'),
  ...sigmaFields,
  prediction_type: field.predictionType('epsilon', 'v_prediction', 'sample'),
  timestep_spacing: field.timestepSpacing('linspace'),
  rescale_betas_zero_snr: field.flag(false),
  interpolation_type: z.enum(['linear', 'log_linear']).default('linear'),
  timestep_type: z.literal('discrete').optional(),
  final_sigmas_type: field.finalSigmasType,
});

/** Euler's method on the probability flow ODE in σ (arXiv:2206.00364, algorithm 2 without churn). Draws no noise. */
export function create(config: z.output<typeof schema>, { steps }: RunOptions): Sampler {
  const { timesteps, sigmas } = visit(config, steps);
  return {
    timesteps,
    sigmas,
    initNoiseSigma: initialSigma(config, sigmas),
    scaleInput: (latents, i) => scaleToUnitVariance(latents, sigmas[i]!),
    step(output, i, latents) {
      const sigma = sigmas[i]!;
      const original = denoise(config.prediction_type, output, latents, sigma);
      const distance = f(sigmas[i + 1]! - sigma);
      return zip(latents, original, (x, x0) => x + f(f(f(x - x0) / sigma) * distance));
    },
  };
}

/** The timesteps of a run, and its sigmas with the final one. */
function visit(config: z.output<typeof schema>, steps: number): { timesteps: number[]; sigmas: number[] } {
  const training = trainingSigmas(alphasCumprodAboveZero(config));
  const logSigmas = training.map(Math.log);
  let timesteps = spaceTimesteps(config, steps).map(f);
  let sigmas =
    config.interpolation_type === 'linear'
      ? sigmasAt(timesteps, training)
      : [...linspace32(logSigmas.at(-1)!, logSigmas[0]!, steps + 1).map(Math.exp)];
  const schedule = sigmaScheduleOf(config);
  if (schedule !== 'default') {
    const [max, min] = [config.sigma_max ?? sigmas[0]!, config.sigma_min ?? sigmas.at(-1)!];
    sigmas = sigmaSchedules[schedule](max, min, steps);
    timesteps = sigmas.map((sigma) => f(timestepAt(sigma, logSigmas)));
  }
  const final = config.final_sigmas_type === 'zero' ? 0 : training[0]!;
  return { timesteps, sigmas: [...sigmas, final].map(f) };
}

/** Standard deviation of the first latents, of variance 1 + σ² unless the run begins at the very first sigma. */
export function initialSigma(config: { timestep_spacing: string }, sigmas: readonly number[]): number {
  const largest = Math.max(...sigmas);
  return config.timestep_spacing === 'leading' ? f(Math.sqrt(f(f(largest * largest) + 1))) : largest;
}

/** x/√(σ² + 1): what a model trained on inputs of variance 1 is given. */
export function scaleToUnitVariance(latents: Float32Array, sigma: number): Float32Array {
  const deviation = f(Math.sqrt(f(f(sigma * sigma) + 1)));
  return latents.map((x) => x / deviation);
}
