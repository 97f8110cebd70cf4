import { z } from 'zod';
import { errors } from '../errors.ts';
import { type Tensor, weightedSum, zip } from './arithmetic.ts';
import { field, noiseScheduleFields } from './config.ts';
import { levelOfVariance, noised } from './level.ts';
import { predictNoise } from './prediction.ts';
import type { RunOptions, Sampler } from './sampler.ts';
import { alphasCumprod, roundHalfToEven, spaceTimesteps } from './schedule.ts';

const f = Math.fround;
const [SIXTH, THIRD, TWENTY_FOURTH] = [f(1 / 6), f(1 / 3), f(1 / 24)];

export const schema = z.strictObject({
  ...noiseScheduleFields('PNDMScheduler'),
  prediction_type: field.predictionType('epsilon', 'v_prediction'),
  timestep_spacing: field.timestepSpacing('leading'),
  set_alpha_to_one: field.flag(false),
  skip_prk_steps: field.flag(false),
});

/**
 * Pseudo numerical methods for diffusion models (arXiv:2202.09778): a linear multistep method over the last four
 * noise predictions. The first steps are Runge-Kutta steps of four evaluations each, or, with `skip_prk_steps`, one
 * step taken twice (the PLMS of github.com/CompVis/latent-diffusion). Draws no noise.
 * @throws ServiceError when there are too many steps, or too few to begin with Runge-Kutta.
 */
export function create(config: z.output<typeof schema>, { steps }: RunOptions): Sampler {
  const { num_train_timesteps: trained, skip_prk_steps: plmsOnly } = config;
  if (!plmsOnly && steps < 4) {
    throw errors.invalidArgument('steps', '4 or more steps, as this sampler begins with Runge-Kutta', steps);
  }
  const alphas = alphasCumprod(config);
  const spaced = spaceTimesteps(config, steps).map(roundHalfToEven);
  const stride = Math.floor(trained / steps);
  const warmUp = plmsOnly ? [] : rungeKuttaTimesteps(spaced, Math.floor(stride / 2));
  // Without Runge-Kutta the second timestep comes twice, since the first step needs a second evaluation.
  const timesteps = plmsOnly ? [...spaced.slice(0, 2), ...spaced.slice(1)] : [...warmUp, ...spaced.slice(3)];
  if (Math.max(...timesteps) >= alphas.length) {
    throw errors.invalidArgument('steps', `a number of steps that stays within ${trained} timesteps`, steps);
  }
  const alphaAt = (t: number) => (t >= 0 ? alphas[t]! : config.set_alpha_to_one ? 1 : alphas[0]!);

  /** Equation 9: from timestep t to another, along a noise prediction. */
  const transfer = (latents: Tensor, output: Tensor, t: number, to: number): Tensor => {
    const [alpha, before] = [alphaAt(t), alphaAt(to)];
    const noise = predictNoise(
      config.prediction_type,
      output,
      latents,
      f(Math.sqrt(alpha)),
      f(Math.sqrt(f(1 - alpha))),
    );
    const scale = f(Math.sqrt(f(before / alpha)));
    const divisor = f(
      f(alpha * f(Math.sqrt(f(1 - before)))) + f(Math.sqrt(f(f(alpha * f(1 - alpha)) * before))),
    );
    const distance = f(before - alpha);
    return zip(latents, noise, (x, n) => f(scale * x) - f(f(distance * n) / divisor));
  };

  /** Outputs of earlier steps, newest last. */
  let history: Tensor[] = [];
  let evaluation = 0;
  let start: Tensor | undefined;
  let slope: Tensor | undefined;

  const rungeKutta = (output: Tensor, t: number, latents: Tensor): Tensor => {
    const stage = evaluation % 4;
    if (stage === 0) {
      history.push(output);
      start = latents;
      slope = output.map((x) => SIXTH * x);
    } else {
      slope = zip(slope!, output, (sum, x) => sum + f((stage === 3 ? SIXTH : THIRD) * x));
    }
    const from = warmUp[evaluation - stage]!;
    const to = evaluation % 2 === 1 ? t : t - Math.floor(stride / 2);
    return transfer(start!, stage === 3 ? slope : output, from, to);
  };

  const multistep = (output: Tensor, t: number, latents: Tensor): Tensor => {
    if (plmsOnly && evaluation === 1) {
      const average = zip(output, history[0]!, (a, b) => f(a + b) / 2);
      return transfer(start!, average, t + stride, t);
    }
    history = [...history.slice(-3), output];
    start = latents;
    return transfer(latents, extrapolate(history), t, t - stride);
  };

  return {
    timesteps,
    evaluationsPerStep: 1,
    initNoiseSigma: 1,
    scaleInput: (latents) => latents,
    step(output, i, latents) {
      const method = evaluation < warmUp.length ? rungeKutta : multistep;
      const next = method(output, timesteps[i]!, latents);
      evaluation++;
      return next;
    },
    addNoise: (original, noise, i) => noised(levelOfVariance(alphas[timesteps[i]!]!), original, noise),
  };
}

/** Three steps of four evaluations: at the start, twice in the middle, at the end. */
function rungeKuttaTimesteps(spaced: number[], half: number): number[] {
  const points = spaced.slice(0, 4).flatMap((t) => [t + half, t]);
  return points
    .slice(1)
    .flatMap((t) => [t, t])
    .slice(1, -1);
}

/** Adams-Bashforth of as many outputs as there are (equation 12). */
function extrapolate(history: Tensor[]): Tensor {
  const [a, b, c, d] = history.toReversed();
  if (!b) return a!;
  if (!c) return weightedSum([3, a!], [-1, b]).map((x) => x / 2);
  if (!d) return weightedSum([23, a!], [-16, b], [5, c]).map((x) => x / 12);
  return weightedSum([55, a!], [-59, b], [37, c], [-9, d]).map((x) => TWENTY_FOURTH * x);
}
