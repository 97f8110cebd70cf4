import { z } from 'zod';
import { type Tensor, weightedSum, zip } from './arithmetic.ts';
import { field, noiseScheduleFields, sigmaFields } from './config.ts';
import { denoise } from './prediction.ts';
import { initialSigma, noisedBy, runInSigma, scaleToUnitVariance } from './run-in-sigma.ts';
import type { RunOptions, Sampler } from './sampler.ts';

const f = Math.fround;

export const schema = z.strictObject({
  ...noiseScheduleFields('LMSDiscreteScheduler'),
  ...sigmaFields,
  prediction_type: field.predictionType('epsilon', 'v_prediction', 'sample'),
  timestep_spacing: field.timestepSpacing('linspace'),
});

/** Derivatives that a step takes into account. */
const ORDER = 4;

/**
 * A linear multistep method of order 4 in σ (sample_lms of github.com/crowsonkb/k-diffusion): the polynomial through
 * the last derivatives, integrated over the step. Draws no noise.
 */
export function create(config: z.output<typeof schema>, options: RunOptions): Sampler {
  const { timesteps, sigmas } = runInSigma(config, options);
  /** Newest first. */
  let derivatives: Tensor[] = [];

  return {
    timesteps,
    sigmas,
    evaluationsPerStep: 1,
    initNoiseSigma: initialSigma(config, sigmas),
    scaleInput: (latents, i) => scaleToUnitVariance(latents, sigmas[i]!),
    step(output, i, latents) {
      const sigma = sigmas[i]!;
      const original = denoise(config.prediction_type, output, latents, sigma);
      const derivative = zip(latents, original, (x, x0) => f(x - x0) / sigma);
      derivatives = [derivative, ...derivatives].slice(0, ORDER);
      // In a run begun midway the first steps lack derivatives; the reference leaves their terms out.
      const nodes = sigmas.slice(Math.max(0, i - ORDER + 1), i + 1).reverse();
      const terms = derivatives.map((tensor, k): [number, Tensor] => {
        return [f(integral(nodes, k, sigma, sigmas[i + 1]!)), tensor];
      });
      const [first, ...rest] = terms;
      return zip(latents, weightedSum(first!, ...rest), (x, change) => x + change);
    },
    addNoise: (original, noise, i) => noisedBy(sigmas[i]!, original, noise),
  };
}

/**
 * ∫ of the k-th Lagrange polynomial over `nodes`, from one σ to another: Gauss's rule of two points, exact up to
 * degree 3.
 */
function integral(nodes: readonly number[], k: number, from: number, to: number): number {
  const [middle, half] = [(from + to) / 2, (to - from) / 2];
  const basis = (at: number) =>
    nodes.reduce((product, node, j) => (j === k ? product : (product * (at - node)) / (nodes[k]! - node)), 1);
  return half * (basis(middle - half / Math.sqrt(3)) + basis(middle + half / Math.sqrt(3)));
}
