// The noise schedule of training, and which of its steps a run visits. Rounded to float32 where the reference is,
// since the differences of neighbouring values matter.

const f = Math.fround;

export type BetaSchedule = 'linear' | 'scaled_linear' | 'squaredcos_cap_v2';
export type TimestepSpacing = 'leading' | 'trailing' | 'linspace';

/** The part of a scheduler_config.json that describes how noise was added in training. */
export interface NoiseSchedule {
  num_train_timesteps: number;
  beta_start: number;
  beta_end: number;
  beta_schedule: BetaSchedule;
  /** Given instead of start, end and schedule. */
  trained_betas?: number[] | null | undefined;
  rescale_betas_zero_snr?: boolean | undefined;
}

/** β, [num_train_timesteps]: the variance of the noise that each training step adds. */
export function betas(schedule: NoiseSchedule): Float32Array {
  const { beta_start: start, beta_end: end, num_train_timesteps: n } = schedule;
  if (schedule.trained_betas) return Float32Array.from(schedule.trained_betas);
  switch (schedule.beta_schedule) {
    case 'linear':
      return linspace32(start, end, n);
    case 'scaled_linear':
      return linspace32(Math.sqrt(start), Math.sqrt(end), n).map((root) => root * root);
    case 'squaredcos_cap_v2': {
      const alphaBar = (t: number) => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2;
      return Float32Array.from({ length: n }, (_, i) =>
        Math.min(1 - alphaBar((i + 1) / n) / alphaBar(i / n), 0.999),
      );
    }
  }
}

/**
 * ᾱ, [num_train_timesteps]: how much of the image is left at each timestep, as a variance. With
 * `rescale_betas_zero_snr` the last one is 0 (arXiv:2305.08891, algorithm 1).
 */
export function alphasCumprod(schedule: NoiseSchedule): Float32Array {
  const plain = cumulativeProduct(betas(schedule));
  return schedule.rescale_betas_zero_snr ? cumulativeProduct(zeroTerminalSnr(plain)) : plain;
}

function cumulativeProduct(betas: Float32Array): Float32Array {
  let product = 1;
  return betas.map((beta) => {
    product *= f(1 - beta);
    return product;
  });
}

/** The betas that shift and scale √ᾱ so that its last value is 0 and its first stays. */
function zeroTerminalSnr(alphasCumprod: Float32Array): Float32Array {
  const roots = alphasCumprod.map(Math.sqrt);
  const [first, last] = [roots[0]!, roots.at(-1)!];
  const scale = f(first / f(first - last));
  const alphaBar = roots.map((root) => f(f(root - last) * scale) ** 2);
  return alphaBar.map((value, i) => 1 - (i === 0 ? value : f(value / alphaBar[i - 1]!)));
}

/** √((1 − ᾱ)/ᾱ), [num_train_timesteps]: the noise level beside an image of variance 1. */
export function trainingSigmas(alphasCumprod: Float32Array): Float32Array {
  // √(2²⁴ − 1) is all but halfway between two float32 numbers, and torch's square root takes the upper one.
  return alphasCumprod.map((alpha) => (alpha === NEARLY_ZERO ? 4096 : Math.sqrt(f(f(1 - alpha) / alpha))));
}

const NEARLY_ZERO = 2 ** -24;

/** ᾱ for samplers that divide by it: a last value of 0 becomes 2⁻²⁴, a sigma of 4096. */
export function alphasCumprodAboveZero(schedule: NoiseSchedule): Float32Array {
  const alphas = alphasCumprod(schedule);
  if (schedule.rescale_betas_zero_snr) alphas[alphas.length - 1] = NEARLY_ZERO;
  return alphas;
}

export interface Spacing {
  timestep_spacing: TimestepSpacing;
  num_train_timesteps: number;
  steps_offset: number;
}

/**
 * `n` timesteps in falling order, spaced as in table 2 of arXiv:2305.08891.
 * @param last where training ended, exclusive; less than num_train_timesteps where the noisiest steps are left out
 * (and then `trailing` has fewer than `n`).
 * @returns whole numbers, apart from `linspace`, whose caller rounds if it must.
 */
export function spaceTimesteps(
  { timestep_spacing, num_train_timesteps, steps_offset }: Spacing,
  n: number,
  last = num_train_timesteps,
): number[] {
  switch (timestep_spacing) {
    case 'linspace':
      return linspace(0, last - 1, n).reverse();
    case 'leading': {
      const ratio = Math.floor(last / n);
      return Array.from({ length: n }, (_, i) => (n - 1 - i) * ratio + steps_offset);
    }
    case 'trailing': {
      // numpy's arange yields one more, −1, for 62 of the first 1000 step counts (61, 103, …) by rounding of `ratio`:
      // the reference then evaluates the model at timestep −1. See docs/numerics.md.
      const ratio = num_train_timesteps / n;
      // The stride as numpy rounds it, which decides ties.
      const stride = last - ratio - last;
      const count = Math.min(n, Math.ceil(last / ratio));
      return Array.from({ length: count }, (_, i) => roundHalfToEven(last + i * stride) - 1);
    }
  }
}

/** Nearest whole number; of two equally near the even one, as numpy and torch have it. */
export function roundHalfToEven(value: number): number {
  const low = Math.floor(value);
  const rest = value - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
}

/** `n` numbers from `start` to `stop`, both included, in double precision; `[start]` for n = 1. */
export function linspace(start: number, stop: number, n: number): number[] {
  const step = (stop - start) / (n - 1);
  return Array.from({ length: n }, (_, i) => (i === 0 ? start : i === n - 1 ? stop : i * step + start));
}

/** `linspace` in float32, as torch has it: from both ends towards the middle. */
export function linspace32(start: number, stop: number, n: number): Float32Array {
  const [first, last] = [f(start), f(stop)];
  const step = f(f(last - first) / (n - 1));
  return Float32Array.from({ length: n }, (_, i) =>
    i < n >> 1 || n === 1 ? first + step * i : last - step * (n - 1 - i),
  );
}
