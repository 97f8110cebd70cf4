import { errors } from '../errors.ts';
import type { RunOptions } from './sampler.ts';
import {
  type NoiseSchedule,
  roundHalfToEven,
  type Spacing,
  spaceTimesteps,
  trainingSigmas,
} from './schedule.ts';
import { choosesTimesteps, sigmaSchedules, sigmasAt, timestepAt } from './sigmas.ts';

// Samplers that solve the probability flow ODE in λ = log(α/σ), with latents α·x₀ + σ·ε (arXiv:2206.00927).

const f = Math.fround;

export interface LambdaRun {
  /** [steps], whole. */
  timesteps: number[];
  /** [steps + 1], with the final one. */
  sigmas: number[];
}

type Config = NoiseSchedule &
  Spacing & { sigma_min?: number | null | undefined; sigma_max?: number | null | undefined };

interface Rules {
  /** ᾱ of every training step. */
  alphas: Float32Array;
  /** The sigma to end with, of all of training's, and of the run's where these were to go down to the least. */
  final: (training: Float32Array, spread?: number[]) => number;
  /** Where training is taken to end, exclusive. */
  end?: number;
  /** Whether the timesteps of Karras's sigmas are rounded, and not cut. */
  roundsKarras?: boolean;
}

/**
 * Which noise levels a run visits: the steps divide the way to timestep 0, where the last one ends (with `trailing`
 * they end there anyway).
 * @throws ServiceError when there are so many steps that two would be one.
 */
export function runInLambda(config: Config, options: RunOptions, rules: Rules): LambdaRun {
  const { steps, schedule, aysTable } = options;
  const { alphas, final, end = alphas.length, roundsKarras = true } = rules;
  const training = trainingSigmas(alphas);
  if (schedule !== 'default') {
    const logSigmas = training.map(Math.log);
    const [max, min] = [config.sigma_max ?? training.at(-1)!, config.sigma_min ?? training[0]!];
    const sigmas = sigmaSchedules[schedule]({ max, min, steps, training, aysTable });
    const at = sigmas.map((sigma) => timestepAt(sigma, logSigmas));
    const rounds = schedule === 'karras' ? roundsKarras : choosesTimesteps(schedule);
    return {
      timesteps: at.map(rounds ? roundHalfToEven : Math.trunc),
      sigmas: [...sigmas, final(training, choosesTimesteps(schedule) ? undefined : sigmas)].map(f),
    };
  }
  const timesteps =
    config.timestep_spacing === 'trailing'
      ? spaceTimesteps(config, steps, end)
      : spaceTimesteps(config, steps + 1, end)
          .slice(0, -1)
          .map(roundHalfToEven);
  if (timesteps.some((t, i) => t === timesteps[i - 1])) {
    throw errors.invalidArgument('steps', 'fewer steps, as two of these would be at one timestep', steps);
  }
  return { timesteps, sigmas: [...sigmasAt(timesteps, training), final(training)].map(f) };
}
