import { z } from 'zod';
import { type Tensor, weightedSum } from './arithmetic.ts';
import { field, noFlow, noiseScheduleFields, noThresholding, sigmaFields } from './config.ts';
import { weights } from './dpm-solver.ts';
import { type Level, level, log, noised } from './level.ts';
import { predictNoise, predictOriginal } from './prediction.ts';
import { runInLambda } from './run-in-lambda.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { alphasCumprod } from './schedule.ts';

const f = Math.fround;

export const schema = z.strictObject({
  ...noiseScheduleFields('DEISMultistepScheduler'),
  ...sigmaFields,
  ...noThresholding,
  ...noFlow,
  prediction_type: field.predictionType('epsilon', 'v_prediction', 'sample'),
  timestep_spacing: field.timestepSpacing('linspace'),
  solver_order: z.literal([1, 2, 3]).default(2),
  // A config of DPM-Solver or UniPC names its own solver, for which diffusers takes the only one there is.
  algorithm_type: z
    .enum(['deis', 'dpmsolver', 'dpmsolver++'])
    .default('deis')
    .transform(() => 'deis' as const),
  solver_type: z
    .enum(['logrho', 'midpoint', 'heun', 'bh1', 'bh2'])
    .default('logrho')
    .transform(() => 'logrho' as const),
  lower_order_final: field.flag(true),
});

/** Steps from this many on need no lower order at the end. */
const STABLE_STEPS = 15;

/**
 * Diffusion exponential integrator sampler (arXiv:2204.13902): the polynomial in log ρ, ρ = σ/α, through the last
 * predictions of ε, integrated over the step in ρ (the paper's ρAB-DEIS in log ρ). Ends at training's smallest sigma,
 * or, where the sigmas are spread, at the last of them twice. Draws no noise.
 */
export function create(config: z.output<typeof schema>, options: RunOptions): Sampler {
  const { prediction_type, solver_order } = config;
  const { timesteps, sigmas } = runInLambda(config, options, {
    alphas: alphasCumprod(config),
    final: (training, spread) => spread?.at(-1) ?? training[0]!,
  });
  const count = timesteps.length;
  const lowersEnd = config.lower_order_final && count < STABLE_STEPS;
  /** Predictions of ε, newest first, and where they were made. */
  let history: { epsilon: Tensor; at: Level }[] = [];

  return {
    timesteps,
    sigmas,
    evaluationsPerStep: 1,
    initNoiseSigma: 1,
    scaleInput: (latents) => latents,
    step(output, i, latents) {
      const [at, to] = [level(sigmas[i]!), level(sigmas[i + 1]!)];
      const original = predictOriginal(prediction_type, output, latents, at.alpha, at.sigma);
      const epsilon = predictNoise('sample', original, latents, at.alpha, at.sigma);
      history = [{ epsilon, at }, ...history].slice(0, solver_order);
      const order = lowersEnd ? Math.min(history.length, count - i) : history.length;
      if (order === 1) {
        const { x, d0 } = weights('dpmsolver', at, to);
        return weightedSum([x, latents], [d0, epsilon]);
      }
      const used = history.slice(0, order);
      const rhos = used.map(({ at }) => rho(at));
      const terms = used.map(({ epsilon }, k): [number, Tensor] => [
        f(antiderivative(rho(to), rhos, k) - antiderivative(rhos[0]!, rhos, k)),
        epsilon,
      ]);
      const start = latents.map((x) => x / at.alpha);
      return weightedSum([1, start], ...terms).map((x) => to.alpha * x);
    },
    addNoise: (original, noise, i) => noised(level(sigmas[i]!), original, noise),
  };
}

const rho = ({ alpha, sigma }: Level) => f(sigma / alpha);

/** ∫ of the k-th Lagrange polynomial over the logarithms of two or three `rhos`, at ρ = `at`. */
function antiderivative(at: number, rhos: number[], k: number): number {
  const t = log(at);
  const [b, c, d] = [0, 1, 2].map((j) => log(rhos[(k + j) % rhos.length]!)) as [number, number, number];
  if (rhos.length === 2) return f(f(at * f(f(t - c) - 1)) / f(b - c));
  let polynomial = f(f(c * f(f(d - t) + 1)) - f(d * t));
  for (const term of [d, f(t * t), f(-2 * t), 2]) polynomial = f(polynomial + term);
  return f(f(at * polynomial) / f(f(b - c) * f(b - d)));
}
