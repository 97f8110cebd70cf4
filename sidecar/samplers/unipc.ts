import { z } from 'zod';
import { only } from '../checkpoints/config.ts';
import { type Tensor, weightedSum } from './arithmetic.ts';
import { field, noFlow, noiseScheduleFields, noThresholding, sigmaFields } from './config.ts';
import { type Level, level, noised } from './level.ts';
import { predictNoise, predictOriginal } from './prediction.ts';
import { runInLambda } from './run-in-lambda.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { alphasCumprodAboveZero } from './schedule.ts';

const f = Math.fround;

export const schema = z.strictObject({
  ...noiseScheduleFields('UniPCMultistepScheduler'),
  ...sigmaFields,
  ...noThresholding,
  ...noFlow,
  prediction_type: field.predictionType('epsilon', 'v_prediction', 'sample'),
  timestep_spacing: field.timestepSpacing('linspace'),
  rescale_betas_zero_snr: field.flag(false),
  final_sigmas_type: field.finalSigmasType,
  solver_order: z.int().min(1).max(8).default(2),
  // A config of DPM-Solver or DEIS names its own solver, for which diffusers takes the default.
  solver_type: z
    .enum(['bh2', 'bh1', 'midpoint', 'heun', 'logrho'])
    .default('bh2')
    .transform((type) => (type === 'bh1' ? 'bh1' : 'bh2')),
  predict_x0: field.flag(true),
  lower_order_final: field.flag(true),
  disable_corrector: z.array(z.int()).max(1000).default([]),
  solver_p: only(null),
  shift_terminal: only(null),
});

type Config = z.output<typeof schema>;

/** What was integrated (x₀ or ε), and where. */
interface Point {
  value: Tensor;
  at: Level;
}

/**
 * UniPC (arXiv:2302.04867): a multistep predictor whose step, once the model has been evaluated at its end, is done
 * over with that evaluation taken in. Draws no noise.
 */
export function create(config: Config, options: RunOptions): Sampler {
  const { prediction_type, predict_x0, solver_order, disable_corrector } = config;
  const { timesteps, sigmas } = runInLambda(config, options, {
    alphas: alphasCumprodAboveZero(config),
    final: (training, spread) => (config.final_sigmas_type === 'zero' ? 0 : (spread?.at(-1) ?? training[0]!)),
  });
  const predict = predict_x0 ? predictOriginal : predictNoise;
  /** Newest first. */
  let history: Point[] = [];
  /** The last step, from the corrected latents. */
  let last: { start: Tensor; order: number } | undefined;

  return {
    timesteps,
    sigmas,
    evaluationsPerStep: 1,
    initNoiseSigma: 1,
    scaleInput: (latents) => latents,
    step(output, i, latents) {
      const [at, to] = [level(sigmas[i]!), level(sigmas[i + 1]!)];
      const value = predict(prediction_type, output, latents, at.alpha, at.sigma);
      const here = { value, at };
      const start =
        last && !disable_corrector.includes(i - 1)
          ? integrate(config, history.slice(0, last.order), at, last.start, here)
          : latents;

      history = [here, ...history].slice(0, solver_order);
      const left = config.lower_order_final ? timesteps.length - i : solver_order;
      const order = Math.min(left, history.length);
      last = { start, order };
      return integrate(config, history.slice(0, order), to, start);
    },
    addNoise: (original, noise, i) => noised(level(sigmas[i]!), original, noise),
  };
}

/**
 * The step from the level of the newest of `points` to another: UniP, or, with the prediction made at its end, UniC
 * (algorithms 1 and 2).
 */
function integrate(config: Config, points: Point[], to: Level, start: Tensor, end?: Point): Tensor {
  const [newest, ...older] = points;
  const { at, value } = newest!;
  const h = f(to.lambda - at.lambda);
  const hh = config.predict_x0 ? -h : h;
  const growth = f(Math.expm1(hh));
  const b = config.solver_type === 'bh1' ? hh : growth;

  const ratios = older.map((point) => f(f(point.at.lambda - at.lambda) / h));
  const slopes = older.map((point, k) => {
    const change = weightedSum([1, point.value], [-1, value]);
    return change.map((x) => x / ratios[k]!);
  });
  if (end) {
    ratios.push(1);
    slopes.push(weightedSum([1, end.value], [-1, value]));
  }
  const rhos = slopeWeights(ratios, hh, growth, b);

  const [scale, other] = config.predict_x0
    ? [f(to.sigma / at.sigma), to.alpha]
    : [f(to.alpha / at.alpha), to.sigma];
  const moved = weightedSum([scale, start], [-f(other * growth), value]);
  const [first, ...rest] = slopes.map((slope, k): [number, Tensor] => [rhos[k]!, slope]);
  return first ? weightedSum([1, moved], [-f(other * b), weightedSum(first, ...rest)]) : moved;
}

/** What to weigh the slopes with: the a of the paper. A single one counts a half, as the paper advises. */
function slopeWeights(ratios: number[], hh: number, growth: number, b: number): number[] {
  if (ratios.length === 1) return [0.5];
  let phi = f(f(growth / hh) - 1);
  let factorial = 1;
  const right = ratios.map((_, k) => {
    const value = f(f(phi * factorial) / b);
    factorial *= k + 2;
    phi = f(f(phi / hh) - f(1 / factorial));
    return value;
  });
  const rows = ratios.map((_, power) => ratios.map((ratio) => f(ratio ** power)));
  return solve(rows, right).map(f);
}

/** x of A·x = b, by elimination with row pivots. */
function solve(matrix: number[][], right: number[]): number[] {
  const n = right.length;
  const rows = matrix.map((row, i) => [...row, right[i]!]);
  for (let k = 0; k < n; k++) {
    const pivot = rows.slice(k).reduce((best, row) => (Math.abs(row[k]!) > Math.abs(best[k]!) ? row : best));
    const place = rows.indexOf(pivot);
    [rows[k], rows[place]] = [pivot, rows[k]!];
    for (const row of rows.slice(k + 1)) {
      const factor = row[k]! / pivot[k]!;
      for (let j = k; j <= n; j++) row[j] = row[j]! - factor * pivot[j]!;
    }
  }
  const x = new Array<number>(n);
  for (let k = n - 1; k >= 0; k--) {
    let rest = rows[k]![n]!;
    for (let j = k + 1; j < n; j++) rest -= rows[k]![j]! * x[j]!;
    x[k] = rest / rows[k]![k]!;
  }
  return x;
}
