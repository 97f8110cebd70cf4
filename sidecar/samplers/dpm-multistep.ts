import { z } from 'zod';
import { only } from '../checkpoints/config.ts';
import { type Tensor, weightedSum } from './arithmetic.ts';
import { field, noiseScheduleFields } from './config.ts';
import { clippedSteps, dpmSolverFields, integrand, weights } from './dpm-solver.ts';
import { type Level, level, noised } from './level.ts';
import { runInLambda } from './run-in-lambda.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { alphasCumprodAboveZero } from './schedule.ts';

const f = Math.fround;

export const schema = z
  .strictObject({
    ...noiseScheduleFields('DPMSolverMultistepScheduler'),
    ...dpmSolverFields,
    timestep_spacing: field.timestepSpacing('linspace'),
    rescale_betas_zero_snr: field.flag(false),
    solver_order: z.literal([1, 2, 3]).default(2),
    algorithm_type: z
      .enum(['dpmsolver++', 'sde-dpmsolver++', 'dpmsolver', 'sde-dpmsolver'])
      .default('dpmsolver++'),
    lower_order_final: field.flag(true),
    euler_at_final: field.flag(false),
    use_lu_lambdas: only(false, null),
  })
  .refine((c) => c.algorithm_type.endsWith('++') || c.final_sigmas_type === 'sigma_min', {
    path: ['final_sigmas_type'],
    error: 'an algorithm over ε cannot end at a sigma of 0',
  })
  .refine((c) => c.algorithm_type !== 'sde-dpmsolver' || c.solver_order < 3, {
    path: ['solver_order'],
    error: 'sde-dpmsolver has no third order',
  });

/** Steps from this many on need no lower order at the end. */
const STABLE_STEPS = 15;

/**
 * DPM-Solver (arXiv:2206.00927) and DPM-Solver++ (arXiv:2211.01095, algorithm 2), multistep, of order 1 to 3. The
 * `sde` algorithms draw noise at every step, the last included; the others none.
 */
export function create(config: z.output<typeof schema>, options: RunOptions): Sampler {
  const { algorithm_type: algorithm, solver_type: method, solver_order, prediction_type } = config;
  const alphas = alphasCumprodAboveZero(config);
  const { timesteps, sigmas } = runInLambda(config, options, {
    alphas,
    end: alphas.length - clippedSteps(alphas, config.lambda_min_clipped),
    roundsKarras: config.beta_schedule !== 'squaredcos_cap_v2',
    final: (training) => (config.final_sigmas_type === 'zero' ? 0 : training[0]!),
  });
  const count = timesteps.length;
  const lowersEnd = config.lower_order_final && count < STABLE_STEPS;
  const endsFirst = lowersEnd || config.euler_at_final || config.final_sigmas_type === 'zero';
  /** What was integrated, newest first, and where. */
  let history: { value: Tensor; at: Level }[] = [];

  const orderAt = (i: number) => {
    if (i === count - 1 && endsFirst) return 1;
    return Math.min(history.length, i === count - 2 && lowersEnd ? 2 : 3);
  };

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
      const w = weights(algorithm, at, to);
      const terms: [number, Tensor][] = [
        [w.x, latents],
        [w.d0, value],
      ];
      const h = f(to.lambda - at.lambda);
      const slope = (k: number) => {
        const [newer, older] = [history[k]!, history[k + 1]!];
        const ratio = f(f(newer.at.lambda - older.at.lambda) / h);
        return { ratio, tensor: scaled(f(1 / ratio), weightedSum([1, newer.value], [-1, older.value])) };
      };
      const order = orderAt(i);
      if (order === 2) terms.push([w.d1[method], slope(0).tensor]);
      if (order === 3) {
        const [near, far] = [slope(0), slope(1)];
        const bend = weightedSum([1, near.tensor], [-1, far.tensor]);
        const span = f(near.ratio + far.ratio);
        terms.push([w.d1.heun, weightedSum([1, near.tensor], [f(near.ratio / span), bend])]);
        terms.push([w.d2, scaled(f(1 / span), bend)]);
      }
      if (algorithm.startsWith('sde')) terms.push([w.noise, noise()]);
      return weightedSum(...(terms as [[number, Tensor]]));
    },
    addNoise: (original, noise, i) => noised(level(sigmas[i]!), original, noise),
  };
}

const scaled = (factor: number, tensor: Tensor): Tensor => tensor.map((x) => factor * x);
