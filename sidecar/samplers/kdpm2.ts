import { z } from 'zod';
import { type Tensor, zip } from './arithmetic.ts';
import { field, noiseScheduleFields, sigmaFields } from './config.ts';
import { exp, log } from './level.ts';
import { denoise } from './prediction.ts';
import { ancestralStep, initialSigma, noisedBy, runInSigma, scaleToUnitVariance } from './run-in-sigma.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { roundHalfToEven } from './schedule.ts';
import { timestepAt } from './sigmas.ts';

const f = Math.fround;

const fields = {
  ...sigmaFields,
  prediction_type: field.predictionType('epsilon', 'v_prediction'),
  timestep_spacing: field.timestepSpacing('linspace'),
};
const betas = { beta_start: 0.00085, beta_end: 0.012 };

/**
 * The midpoint method in log σ: sample_dpm_2 and sample_dpm_2_ancestral of github.com/crowsonkb/k-diffusion, after
 * DPM-Solver-2 (arXiv:2206.00927) and algorithm 2 of arXiv:2206.00364. Two evaluations a step, at its beginning and at
 * its middle; the last step, down to 0, has one.
 */
function midpointMethod(
  config: z.output<typeof schema>,
  options: RunOptions,
  { isAncestral }: { isAncestral: boolean },
): Sampler {
  const { timesteps, sigmas, logSigmas } = runInSigma(config, options);
  const shown = options.schedule === 'karras' ? timesteps.map(roundHalfToEven) : timesteps;
  const steps = sigmas.slice(0, -1).map((sigma, step) => {
    const next = sigmas[step + 1]!;
    return { sigma, ...(isAncestral ? ancestralStep(sigma, next) : { up: 0, down: next }) };
  });
  const middles = steps.map(({ sigma, down }) => (down === 0 ? 0 : middle(sigma, down)));
  const sigmaOf = (i: number) => (i % 2 === 0 ? sigmas : middles)[i >> 1]!;
  let start: Tensor | undefined;

  return {
    timesteps: shown.flatMap((t, step) =>
      step === 0 ? [t] : [f(timestepAt(middles[step - 1]!, logSigmas)), t],
    ),
    sigmas,
    evaluationsPerStep: 2,
    initNoiseSigma: initialSigma(config, sigmas),
    scaleInput: (latents, i) => scaleToUnitVariance(latents, sigmaOf(i)),
    step(output, i, latents, noise) {
      const at = sigmaOf(i);
      const { sigma, up, down } = steps[i >> 1]!;
      const original = denoise(config.prediction_type, output, latents, at);
      if (i % 2 === 0) start = latents;
      const distance = f((i % 2 === 0 ? middles[i >> 1]! : down) - sigma);
      const derivative = zip(latents, original, (x, x0) => f(x - x0) / at);
      const lower = zip(start!, derivative, (x, d) => x + f(d * distance));
      return i % 2 === 1 && isAncestral ? zip(lower, noise(), (x, n) => x + f(n * up)) : lower;
    },
    // At a step's middle as much as at its end, as the reference has it.
    addNoise: (original, noise, i) => noisedBy(sigmas[(i + 1) >> 1]!, original, noise),
  };
}

/** √(from·to), by logarithms. */
function middle(from: number, to: number): number {
  const end = log(to);
  return exp(f(end - f(end - log(from)) / 2));
}

export const schema = z.strictObject({ ...noiseScheduleFields('KDPM2DiscreteScheduler', betas), ...fields });

/** `midpointMethod` from σ to σ. Draws no noise. */
export const create = (config: z.output<typeof schema>, options: RunOptions): Sampler =>
  midpointMethod(config, options, { isAncestral: false });

/** `midpointMethod` to below the next σ, and noise up to it: one draw for every step but the last. */
export const ancestral = {
  schema: z.strictObject({ ...noiseScheduleFields('KDPM2AncestralDiscreteScheduler', betas), ...fields }),
  create: (config: z.output<typeof schema>, options: RunOptions): Sampler =>
    midpointMethod(config, options, { isAncestral: true }),
};
