import { betaQuantile } from './beta-quantile.ts';
import { linspace } from './schedule.ts';

// Noise levels of a run: where on the curve of training sigmas the steps lie.

/** How a run's sigmas are spread; `default` takes them at the timesteps. */
export type SigmaSchedule = 'default' | keyof typeof sigmaSchedules;

/** What a spread has to fill: `steps` sigmas falling from `max`, the last of them `min` or above it. */
export interface Span {
  max: number;
  min: number;
  steps: number;
  /** √((1 − ᾱ)/ᾱ) of every training step, rising. */
  training: Float32Array;
  /** Which models' table `ays` goes by. */
  aysTable: keyof typeof aysTimesteps;
}

/** The spreads that a config's `use_NAME_sigmas` or a request's `schedule` can name. */
export const sigmaSchedules = {
  /** Evenly spaced in σ^(1/7): equation 5 of arXiv:2206.00364. */
  karras: ({ max, min, steps }) => {
    const [from, to] = [max ** (1 / 7), min ** (1 / 7)];
    return linspace(0, 1, steps).map((ramp) => (from + ramp * (to - from)) ** 7);
  },
  /** Evenly spaced in log σ. */
  exponential: ({ max, min, steps }) => linspace(Math.log(max), Math.log(min), steps).map(Math.exp),
  /** Quantiles of Beta(0.6, 0.6) in σ, which crowd at both ends (arXiv:2407.12173). */
  beta: ({ max, min, steps }) =>
    linspace(0, 1, steps).map((ramp) => min + betaQuantile(1 - ramp, 0.6, 0.6) * (max - min)),
  /**
   * Align your steps (arXiv:2404.14507): the timesteps that its authors optimised for ten steps. For another number of
   * steps their sigmas, with training's smallest at the end, are interpolated: linear in log σ over the step's number.
   */
  ays: ({ steps, training, aysTable }) => {
    const sigmas = [...aysTimesteps[aysTable].map((t) => training[t] ?? training.at(-1)!), training[0]!];
    const logs = Float64Array.from(sigmas, Math.log);
    return linspace(0, sigmas.length - 1, steps + 1)
      .slice(0, -1)
      .map((place) => Math.exp(interpolate(place, logs)));
  },
  /**
   * Timesteps evenly spaced from training's last to 0, of which the 0 is left out; σ between whole ones by its
   * logarithm (`sgm_uniform` of github.com/comfyanonymous/ComfyUI, after github.com/Stability-AI/generative-models).
   */
  'sgm-uniform': ({ steps, training }) => {
    const logs = Float64Array.from(training, Math.log);
    return linspace(training.length - 1, 0, steps + 1)
      .slice(0, -1)
      .map((t) => Math.exp(interpolate(t, logs)));
  },
} satisfies Record<string, (span: Span) => number[]>;

/** Whether a schedule chooses timesteps, of which the last lies before the end, and not sigmas down to the least. */
export const choosesTimesteps = (schedule: SigmaSchedule): boolean =>
  schedule === 'ays' || schedule === 'sgm-uniform';

/** The ten timesteps of "align your steps" for Stable Diffusion 1.x and for XL. */
const aysTimesteps = {
  sd: [999, 850, 736, 645, 545, 455, 343, 233, 124, 24],
  sdxl: [999, 845, 730, 587, 443, 310, 193, 116, 53, 13],
};

/** The flags that choose a spread in a scheduler_config.json. */
export interface SigmaFlags {
  use_karras_sigmas: boolean;
  use_exponential_sigmas: boolean;
  use_beta_sigmas: boolean;
}

export function sigmaScheduleOf(flags: SigmaFlags): SigmaSchedule {
  if (flags.use_karras_sigmas) return 'karras';
  if (flags.use_exponential_sigmas) return 'exponential';
  return flags.use_beta_sigmas ? 'beta' : 'default';
}

/** The sigma at each timestep, between whole ones by linear interpolation; beyond the ends, that of the end. */
export const sigmasAt = (timesteps: readonly number[], sigmas: Float32Array): number[] =>
  timesteps.map((t) => interpolate(t, sigmas));

/** `values[place]`, between whole places by linear interpolation. */
function interpolate(place: number, values: ArrayLike<number>): number {
  const last = values.length - 1;
  if (place <= 0) return values[0]!;
  if (place >= last) return values[last]!;
  const i = Math.floor(place);
  return (values[i + 1]! - values[i]!) * (place - i) + values[i]!;
}

/** The timestep, whole or not, at which training had a noise level: linear in log σ between whole ones. */
export function timestepAt(sigma: number, logSigmas: Float32Array): number {
  const log = Math.log(Math.max(sigma, 1e-10));
  let low = 0;
  for (let i = 1; i < logSigmas.length - 1 && log >= logSigmas[i]!; i++) low = i;
  const [from, to] = [logSigmas[low]!, logSigmas[low + 1]!];
  const weight = Math.min(1, Math.max(0, (from - log) / Math.fround(from - to)));
  return (1 - weight) * low + weight * (low + 1);
}
