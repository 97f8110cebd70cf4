import { z } from 'zod';
import { only } from '../checkpoints/config.ts';
import type { Tensor } from './arithmetic.ts';
import { field, noFlow, noThresholding, sigmaFields } from './config.ts';
import { exp, type Level } from './level.ts';
import { type PredictionType, predictNoise, predictOriginal } from './prediction.ts';

const f = Math.fround;

/** Which integral is solved: over predictions of ε or (`++`) of x₀, of the ODE or (`sde`) of the SDE. */
export type Algorithm = 'dpmsolver' | 'dpmsolver++' | 'sde-dpmsolver' | 'sde-dpmsolver++';

/** Fields of both DPM-Solver classes. */
export const dpmSolverFields = {
  ...sigmaFields,
  ...noThresholding,
  ...noFlow,
  prediction_type: field.predictionType('epsilon', 'v_prediction', 'sample'),
  // A config of DEIS or UniPC names its own solver, for which diffusers takes the default.
  solver_type: z
    .enum(['midpoint', 'heun', 'logrho', 'bh1', 'bh2'])
    .default('midpoint')
    .transform((type) => (type === 'heun' ? 'heun' : 'midpoint')),
  final_sigmas_type: field.finalSigmasType,
  lambda_min_clipped: z
    .number()
    .or(z.literal(Number.NEGATIVE_INFINITY))
    .nullish()
    .transform((lambda) => lambda ?? Number.NEGATIVE_INFINITY),
  // What DDPM's variances are is of no concern; a model that predicts them would be.
  variance_type: only(null, 'fixed_small', 'fixed_small_log', 'fixed_large', 'fixed_large_log'),
};

/** What an algorithm integrates, of a model's output: x₀ or ε. */
export function integrand(
  algorithm: Algorithm,
  type: PredictionType,
  output: Tensor,
  latents: Tensor,
  { alpha, sigma }: Level,
): Tensor {
  const predict = algorithm.endsWith('++') ? predictOriginal : predictNoise;
  return predict(type, output, latents, alpha, sigma);
}

/** What a step weighs its terms with: x and D₀ always, D₁ by either method, D₂ and noise. */
export interface Weights {
  x: number;
  d0: number;
  d1: { midpoint: number; heun: number };
  d2: number;
  noise: number;
}

/**
 * The exact solution from λ of `from` to λ of `to` of a polynomial in λ with the derivatives D₀, D₁, D₂ (arXiv:2206.00927
 * for ε, arXiv:2211.01095 for x₀ and the SDE). `midpoint` leaves out what is of third order in the
 * second term.
 */
export function weights(algorithm: Algorithm, from: Level, to: Level): Weights {
  const h = f(to.lambda - from.lambda);
  switch (algorithm) {
    case 'dpmsolver++': {
      const decay = f(exp(-h) - 1);
      return {
        x: f(to.sigma / from.sigma),
        d0: -f(to.alpha * decay),
        d1: { midpoint: f(-0.5 * f(to.alpha * decay)), heun: f(to.alpha * f(f(decay / h) + 1)) },
        d2: -f(to.alpha * f(f(f(decay + h) / f(h * h)) - 0.5)),
        noise: 0,
      };
    }
    case 'dpmsolver': {
      const growth = f(exp(h) - 1);
      return {
        x: f(to.alpha / from.alpha),
        d0: -f(to.sigma * growth),
        d1: { midpoint: f(-0.5 * f(to.sigma * growth)), heun: -f(to.sigma * f(f(growth / h) - 1)) },
        d2: -f(to.sigma * f(f(f(growth - h) / f(h * h)) - 0.5)),
        noise: 0,
      };
    }
    case 'sde-dpmsolver++': {
      const share = f(1 - exp(-2 * h));
      return {
        x: f(f(to.sigma / from.sigma) * exp(-h)),
        d0: f(to.alpha * share),
        d1: { midpoint: f(0.5 * f(to.alpha * share)), heun: f(to.alpha * f(f(share / (-2 * h)) + 1)) },
        d2: f(to.alpha * f(f(f(share - 2 * h) / f(4 * h * h)) - 0.5)),
        noise: f(to.sigma * f(Math.sqrt(share))),
      };
    }
    case 'sde-dpmsolver': {
      const growth = f(exp(h) - 1);
      return {
        x: f(to.alpha / from.alpha),
        d0: f(-2 * f(to.sigma * growth)),
        d1: { midpoint: -f(to.sigma * growth), heun: f(-2 * f(to.sigma * f(f(growth / h) - 1))) },
        d2: Number.NaN,
        noise: f(to.sigma * f(Math.sqrt(f(exp(2 * h) - 1)))),
      };
    }
  }
}

/** How many of the noisiest training steps have a λ below `minimum`. */
export function clippedSteps(alphas: Float32Array, minimum: number): number {
  return alphas.filter((alpha) => lambdaOf(alpha) < minimum).length;
}

const lambdaOf = (alpha: number) =>
  f(f(Math.log(f(Math.sqrt(alpha)))) - f(Math.log(f(Math.sqrt(f(1 - alpha))))));
