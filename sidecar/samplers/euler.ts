import { z } from 'zod';
import { zip } from './arithmetic.ts';
import { field, noiseScheduleFields, sigmaFields } from './config.ts';
import { denoise } from './prediction.ts';
import { initialSigma, noisedBy, runInSigma, type SigmaRun, scaleToUnitVariance } from './run-in-sigma.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { alphasCumprodAboveZero, linspace32, trainingSigmas } from './schedule.ts';

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
export function create(config: z.output<typeof schema>, options: RunOptions): Sampler {
  const { timesteps, sigmas } = visit(config, options);
  return {
    timesteps,
    sigmas,
    evaluationsPerStep: 1,
    initNoiseSigma: initialSigma(config, sigmas),
    scaleInput: (latents, i) => scaleToUnitVariance(latents, sigmas[i]!),
    step(output, i, latents) {
      const sigma = sigmas[i]!;
      const original = denoise(config.prediction_type, output, latents, sigma);
      const distance = f(sigmas[i + 1]! - sigma);
      return zip(latents, original, (x, x0) => x + f(f(f(x - x0) / sigma) * distance));
    },
    addNoise: (original, noise, i) => noisedBy(sigmas[i]!, original, noise),
  };
}

function visit(config: z.output<typeof schema>, options: RunOptions): Pick<SigmaRun, 'timesteps' | 'sigmas'> {
  const training = trainingSigmas(alphasCumprodAboveZero(config));
  const [min, max] = [training[0]!, training.at(-1)!];
  const final = config.final_sigmas_type === 'zero' ? 0 : min;
  if (config.interpolation_type === 'linear') return runInSigma(config, options, final);
  // Evenly in log σ over all of training, one more than the steps and so ended short of the last.
  const { sigma_min, sigma_max } = config;
  const run = runInSigma(
    { ...config, sigma_min: sigma_min ?? min, sigma_max: sigma_max ?? max },
    options,
    final,
  );
  if (options.schedule !== 'default') return run;
  const sigmas = linspace32(Math.log(max), Math.log(min), options.steps + 1).map(Math.exp);
  return { timesteps: run.timesteps, sigmas: [...sigmas, final].map(f) };
}
