import { linspace } from './schedule.ts';

// Noise levels of a run: where on the curve of training sigmas the steps lie.

/** How a run's sigmas are spread; `default` takes them at the timesteps. */
export type SigmaSchedule = 'default' | keyof typeof sigmaSchedules;

/** `n` sigmas falling from `max` to `min`. */
type Spread = (max: number, min: number, n: number) => number[];

/** The spreads that a config's `use_NAME_sigmas` or a request's `schedule` can name. */
export const sigmaSchedules = {
  /** Evenly spaced in σ^(1/7): equation 5 of arXiv:2206.00364. */
  karras: (max, min, n) => {
    const [from, to] = [max ** (1 / 7), min ** (1 / 7)];
    return linspace(0, 1, n).map((ramp) => (from + ramp * (to - from)) ** 7);
  },
  /** Evenly spaced in log σ. */
  exponential: (max, min, n) => linspace(Math.log(max), Math.log(min), n).map(Math.exp),
} satisfies Record<string, Spread>;

/** The flags that choose a spread in a scheduler_config.json. */
export interface SigmaFlags {
  use_karras_sigmas: boolean;
  use_exponential_sigmas: boolean;
}

export function sigmaScheduleOf(flags: SigmaFlags): SigmaSchedule {
  if (flags.use_karras_sigmas) return 'karras';
  return flags.use_exponential_sigmas ? 'exponential' : 'default';
}

/** The sigma at each timestep, between whole ones by linear interpolation; beyond the ends, that of the end. */
export function sigmasAt(timesteps: readonly number[], sigmas: Float32Array): number[] {
  const last = sigmas.length - 1;
  return timesteps.map((t) => {
    if (t <= 0) return sigmas[0]!;
    if (t >= last) return sigmas[last]!;
    const i = Math.floor(t);
    return (sigmas[i + 1]! - sigmas[i]!) * (t - i) + sigmas[i]!;
  });
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
