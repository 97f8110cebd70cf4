import { type Tensor, zip } from './arithmetic.ts';
import type { RunOptions } from './sampler.ts';
import {
  alphasCumprodAboveZero,
  type NoiseSchedule,
  type Spacing,
  spaceTimesteps,
  trainingSigmas,
} from './schedule.ts';
import { choosesTimesteps, sigmaSchedules, sigmasAt, timestepAt } from './sigmas.ts';

// Samplers whose latents are x₀ + σ·ε: those of github.com/crowsonkb/k-diffusion (arXiv:2206.00364).

const f = Math.fround;

export interface SigmaRun {
  /** [steps], whole or not. */
  timesteps: number[];
  /** [steps + 1], with the final one. */
  sigmas: number[];
  /** log σ of every training step. */
  logSigmas: Float32Array;
}

type Config = NoiseSchedule &
  Spacing & { sigma_min?: number | null | undefined; sigma_max?: number | null | undefined };

/**
 * Which noise levels a run visits. A spread replaces what the config's spacing of timesteps gives, between its ends.
 * @param final the sigma to end with.
 */
export function runInSigma(config: Config, options: RunOptions, final = 0): SigmaRun {
  const { steps, schedule, aysTable } = options;
  const training = trainingSigmas(alphasCumprodAboveZero(config));
  const logSigmas = training.map(Math.log);
  let timesteps = spaceTimesteps(config, steps).map(f);
  let sigmas = sigmasAt(timesteps, training);
  if (schedule !== 'default') {
    const [max, min] = [config.sigma_max ?? sigmas[0]!, config.sigma_min ?? sigmas.at(-1)!];
    sigmas = sigmaSchedules[schedule]({ max, min, steps, training, aysTable });
    const at = sigmas.map((sigma) => timestepAt(sigma, logSigmas));
    timesteps = (choosesTimesteps(schedule) ? at.map(nearlyWhole) : at).map(f);
  }
  return { timesteps, sigmas: [...sigmas, final].map(f), logSigmas };
}

/** Undoes what logarithms leave of a whole timestep. */
function nearlyWhole(t: number): number {
  const whole = Math.round(t);
  return Math.abs(t - whole) < 1e-4 ? whole : t;
}

/** Standard deviation of the first latents, of variance 1 + σ² unless the run begins at the very first sigma. */
export function initialSigma(config: { timestep_spacing: string }, sigmas: readonly number[]): number {
  const largest = Math.max(...sigmas);
  return config.timestep_spacing === 'leading' ? f(Math.sqrt(f(f(largest * largest) + 1))) : largest;
}

/** x/√(σ² + 1): what a model trained on inputs of variance 1 is given. */
export function scaleToUnitVariance(latents: Tensor, sigma: number): Tensor {
  const deviation = f(Math.sqrt(f(f(sigma * sigma) + 1)));
  return latents.map((x) => x / deviation);
}

/** x₀ + σ·ε. */
export const noisedBy = (sigma: number, original: Tensor, noise: Tensor): Tensor =>
  zip(original, noise, (x, n) => x + f(n * sigma));

/** How far down to go from σ, and how much noise to add, to arrive at `next` with the right variance. */
export function ancestralStep(sigma: number, next: number): { up: number; down: number } {
  const [from, to] = [f(sigma * sigma), f(next * next)];
  const up = f(Math.sqrt(f(f(to * f(from - to)) / from)));
  return { up, down: f(Math.sqrt(Math.max(0, f(to - f(up * up))))) };
}
