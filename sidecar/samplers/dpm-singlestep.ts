import { z } from 'zod';
import { type Tensor, weightedSum } from './arithmetic.ts';
import { field, noiseScheduleFields } from './config.ts';
import { clippedSteps, dpmSolverFields, integrand, type Weights, weights } from './dpm-solver.ts';
import { type Level, level, noised } from './level.ts';
import { runInLambda } from './run-in-lambda.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { alphasCumprod } from './schedule.ts';

const f = Math.fround;

export const schema = z
  .strictObject({
    ...noiseScheduleFields('DPMSolverSinglestepScheduler'),
    ...dpmSolverFields,
    solver_order: z.literal([1, 2, 3]).default(2),
    algorithm_type: z.enum(['dpmsolver++', 'sde-dpmsolver++', 'dpmsolver']).default('dpmsolver++'),
    lower_order_final: field.flag(false),
  })
  .refine((c) => c.algorithm_type.endsWith('++') || c.final_sigmas_type === 'sigma_min', {
    path: ['final_sigmas_type'],
    error: 'an algorithm over ε cannot end at a sigma of 0',
  });

type Config = z.output<typeof schema>;

/** A prediction and the level it was made at. */
interface Point {
  value: Tensor;
  at: Level;
}

/**
 * DPM-Solver (arXiv:2206.00927) and DPM-Solver++ (arXiv:2211.01095, algorithm 1), singlestep: steps in groups of
 * `solver_order`, of which each starts where the group began, with one more prediction than the one before. A step is
 * one evaluation. The `sde` algorithm draws noise at every step, the last included; the others none.
 */
export function create(config: Config, options: RunOptions): Sampler {
  const { algorithm_type: algorithm, prediction_type, solver_order } = config;
  const alphas = alphasCumprod(config);
  const { timesteps, sigmas } = runInLambda({ ...config, timestep_spacing: 'linspace' }, options, {
    alphas,
    end: alphas.length - clippedSteps(alphas, config.lambda_min_clipped),
    final: (training) => (config.final_sigmas_type === 'zero' ? 0 : training[0]!),
  });
  const orders = orderList(config, timesteps.length);
  /** Newest first. */
  let history: Point[] = [];
  /** The latents at which the group began. */
  let start: Tensor | undefined;

  return {
    timesteps,
    sigmas,
    evaluationsPerStep: 1,
    initNoiseSigma: 1,
    scaleInput: (latents) => latents,
    step(output, i, latents, noise) {
      const [at, to] = [level(sigmas[i]!), level(sigmas[i + 1]!)];
      const value = integrand(algorithm, prediction_type, output, latents, at);
      history = [{ value, at }, ...history].slice(0, solver_order);
      // A run begun midway may begin inside of a group.
      const points = history.slice(0, orders[i]).reverse();
      if (points.length === 1) start = latents;
      const w = weights(algorithm, points[0]!.at, to);
      const terms: [number, Tensor][] = [
        [w.d0, points[0]!.value],
        ...derivatives(points, to, w, config.solver_type),
      ];
      if (algorithm.startsWith('sde')) terms.push([w.noise, noise()]);
      return weightedSum([w.x, start!], ...terms);
    },
    addNoise: (original, noise, i) => noised(level(sigmas[i]!), original, noise),
  };
}

/** The terms beyond D₀, of the points of a group so far. */
function derivatives(
  [first, ...others]: Point[],
  to: Level,
  w: Weights,
  method: 'midpoint' | 'heun',
): [number, Tensor][] {
  const h = f(to.lambda - first!.at.lambda);
  const slopes = others.map(({ at, value }) => {
    const ratio = f(f(at.lambda - first!.at.lambda) / h);
    const change = weightedSum([1, value], [-1, first!.value]);
    return { ratio, tensor: change.map((x) => f(1 / ratio) * x) };
  });
  const [near, far] = slopes;
  if (!near) return [];
  if (!far) return [[w.d1[method], near.tensor]];
  if (method === 'midpoint') return [[w.d1.heun, far.tensor]];
  const span = f(far.ratio - near.ratio);
  const slope = weightedSum([far.ratio, near.tensor], [-near.ratio, far.tensor]).map((x) => x / span);
  const bend = weightedSum([1, far.tensor], [-1, near.tensor]).map((x) => f(2 * x) / span);
  return [
    [w.d1.heun, slope],
    [w.d2, bend],
  ];
}

/** The order of every step: 1, 2, 3, 1, 2, 3, …, with what is left over at the end low. */
function orderList(config: Config, steps: number): number[] {
  const { solver_order: most, final_sigmas_type: final } = config;
  const lowersEnd = config.lower_order_final || steps % most !== 0 || final === 'zero';
  const orders = Array.from({ length: steps }, (_, i) => (i % most) + 1);
  if (lowersEnd) {
    if (most === 3 && steps % 3 === 0) orders.splice(-3, 3, 1, 2, 1);
    if (most === 2) orders[steps - 1] = 1;
  }
  if (final === 'zero') orders[steps - 1] = 1;
  return orders;
}
