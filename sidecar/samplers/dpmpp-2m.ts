import { z } from 'zod';
import { only } from '../checkpoints/config.ts';
import { type Tensor, weightedSum } from './arithmetic.ts';
import { field, noFlow, noiseScheduleFields, noThresholding, sigmaFields } from './config.ts';
import { predictOriginal } from './prediction.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { alphasCumprodAboveZero, roundHalfToEven, spaceTimesteps, trainingSigmas } from './schedule.ts';
import { sigmaScheduleOf, sigmaSchedules, sigmasAt, timestepAt } from './sigmas.ts';

const f = Math.fround;

export const schema = z.strictObject({
  ...noiseScheduleFields('DPMSolverMultistepScheduler'),
  ...sigmaFields,
  ...noThresholding,
  ...noFlow,
  prediction_type: field.predictionType('epsilon', 'v_prediction', 'sample'),
  timestep_spacing: field.timestepSpacing('linspace'),
  rescale_betas_zero_snr: field.flag(false),
  solver_order: z.literal([1, 2]).default(2),
  algorithm_type: z.literal('dpmsolver++').default('dpmsolver++'),
  // A config of DEIS or UniPC names its own solver, for which diffusers takes the default.
  solver_type: z
    .enum(['midpoint', 'heun', 'logrho', 'bh1', 'bh2'])
    .default('midpoint')
    .transform((type) => (type === 'heun' ? 'heun' : 'midpoint')),
  lower_order_final: field.flag(true),
  euler_at_final: field.flag(false),
  final_sigmas_type: field.finalSigmasType,
  lambda_min_clipped: z
    .number()
    .or(z.literal(Number.NEGATIVE_INFINITY))
    .nullish()
    .transform((lambda) => lambda ?? Number.NEGATIVE_INFINITY),
  use_lu_lambdas: only(false, null),
  variance_type: only(null),
});

/** Steps from this many on need no lower order at the end. */
const STABLE_STEPS = 15;

/**
 * DPM-Solver++ multistep (arXiv:2211.01095, algorithm 2), of first or second order, on predictions of x₀. Draws no
 * noise.
 */
export function create(config: z.output<typeof schema>, { steps }: RunOptions): Sampler {
  const { timesteps, sigmas } = visit(config, steps);
  const last = timesteps.length - 1;
  const lowerAtEnd =
    config.euler_at_final ||
    config.final_sigmas_type === 'zero' ||
    (config.lower_order_final && timesteps.length < STABLE_STEPS);
  /** Predictions of x₀, newest last, and where they were made. */
  let history: { original: Tensor; at: Level }[] = [];

  return {
    timesteps,
    sigmas,
    initNoiseSigma: 1,
    scaleInput: (latents) => latents,
    step(output, i, latents) {
      const [at, to] = [level(sigmas[i]!), level(sigmas[i + 1]!)];
      const original = predictOriginal(config.prediction_type, output, latents, at.alpha, at.sigma);
      history = [...history, { original, at }].slice(-config.solver_order);
      const order = i === last && lowerAtEnd ? 1 : history.length;
      const h = f(to.lambda - at.lambda);
      const decay = f(f(exp(-h)) - 1);
      const terms: [number, Tensor][] = [
        [f(to.sigma / at.sigma), latents],
        [-f(to.alpha * decay), original],
      ];
      if (order >= 2) {
        const before = history.at(-2)!;
        const ratio = f(f(at.lambda - before.at.lambda) / h);
        const slope = weightedSum([1, original], [-1, before.original]).map((x) => f(1 / ratio) * x);
        terms.push([
          config.solver_type === 'heun' ? f(to.alpha * f(f(decay / h) + 1)) : f(-0.5 * f(to.alpha * decay)),
          slope,
        ]);
      }
      return weightedSum(...terms);
    },
  };
}

/** A point of the noise schedule with α² + σ² = 1, and λ = log(α/σ). */
interface Level {
  alpha: number;
  sigma: number;
  lambda: number;
}

function level(sigma: number): Level {
  const alpha = f(1 / f(Math.sqrt(f(f(sigma * sigma) + 1))));
  const scaled = f(sigma * alpha);
  return { alpha, sigma: scaled, lambda: f(log(alpha) - log(scaled)) };
}

const log = (x: number) => f(Math.log(x));
const exp = (x: number) => f(Math.exp(x));

/** The timesteps of a run, whole, and its sigmas with the final one. */
function visit(config: z.output<typeof schema>, steps: number): { timesteps: number[]; sigmas: number[] } {
  const alphas = alphasCumprodAboveZero(config);
  const training = trainingSigmas(alphas);
  const schedule = sigmaScheduleOf(config);
  const final = config.final_sigmas_type === 'zero' ? 0 : training[0]!;
  if (schedule !== 'default') {
    const logSigmas = training.map(Math.log);
    const [max, min] = [config.sigma_max ?? training.at(-1)!, config.sigma_min ?? training[0]!];
    const sigmas = sigmaSchedules[schedule](max, min, steps);
    const at = sigmas.map((sigma) => timestepAt(sigma, logSigmas));
    const whole =
      schedule === 'karras' && config.beta_schedule !== 'squaredcos_cap_v2' ? at.map(roundHalfToEven) : at;
    return { timesteps: whole.map(Math.trunc), sigmas: [...sigmas, final].map(f) };
  }
  // The steps divide the way to timestep 0, where the last one ends; `trailing` ends there anyway.
  const end = alphas.length - clippedSteps(alphas, config.lambda_min_clipped);
  const timesteps =
    config.timestep_spacing === 'trailing'
      ? spaceTimesteps(config, steps, end)
      : spaceTimesteps(config, steps + 1, end)
          .slice(0, -1)
          .map(roundHalfToEven);
  return { timesteps, sigmas: [...sigmasAt(timesteps, training), final].map(f) };
}

/** How many of the noisiest training steps have a λ below `minimum`. */
function clippedSteps(alphas: Float32Array, minimum: number): number {
  return alphas.filter((alpha) => f(log(f(Math.sqrt(alpha))) - log(f(Math.sqrt(f(1 - alpha))))) < minimum)
    .length;
}
