import type { Tensor } from './arithmetic.ts';
import type { SigmaSchedule, Span } from './sigmas.ts';

/** The next draw of N(0, 1), of the latents' size; called only when a step needs one. */
export type Noise = () => Tensor;

/**
 * One image's way from noise to latents. It keeps what its method remembers of earlier steps, so every image has its
 * own; it knows no model and no shape, and images at different steps can share an evaluation.
 *
 * ```ts
 * let latents = noise().map((x) => x * sampler.initNoiseSigma);
 * for (const [i, t] of sampler.timesteps.entries()) {
 *   const output = await model(sampler.scaleInput(latents, i), t);
 *   latents = sampler.step(output, i, latents, noise);
 * }
 * ```
 *
 * Image to image begins midway, at the evaluation that `firstEvaluation` names:
 *
 * ```ts
 * const first = firstEvaluation(sampler, steps, strength);
 * let latents = sampler.addNoise(encoded, noise(), first);
 * for (let i = first; i < sampler.timesteps.length; i++) …
 * ```
 */
export interface Sampler {
  /**
   * What the model is given at each evaluation, in order. May be fractional and may repeat; more than the steps asked
   * for where a method evaluates the model several times a step.
   */
  readonly timesteps: readonly number[];
  /** Noise level at the beginning of each step and at the end, for methods that go by it. */
  readonly sigmas?: readonly number[];
  /** Evaluations from the first of one step to the first of the next. */
  readonly evaluationsPerStep: number;
  /** Standard deviation of the initial latents. */
  readonly initNoiseSigma: number;
  /** The latents as the model wants them at evaluation `i`; may be `latents` itself. */
  scaleInput(latents: Tensor, i: number): Tensor;
  /**
   * The latents after evaluation `i`. `latents` are those before `scaleInput`, as the last step returned them; neither
   * they nor `output` are written to. Evaluations come in order, but the first may be that of any step.
   * @param output what the model predicted, guidance applied.
   */
  step(output: Tensor, i: number, latents: Tensor, noise: Noise): Tensor;
  /**
   * A finished image's latents with as much noise as belongs to evaluation `i`, before `scaleInput`.
   * @param noise a draw of N(0, 1).
   */
  addNoise(original: Tensor, noise: Tensor, i: number): Tensor;
}

export interface RunOptions {
  /** Steps asked for. */
  steps: number;
  /** Noise of DDIM's and TCD's steps, 0…1. Others have no use for it. */
  eta: number;
  /** Spread of the sigmas, for samplers that go by them. */
  schedule: SigmaSchedule;
  aysTable: Span['aysTable'];
}

/**
 * The evaluation at which a run of image to image begins, of `sampler.timesteps`. Counted as diffusers'
 * StableDiffusionImg2ImgPipeline counts (`get_timesteps`), except that at least one step is run.
 * @param strength share of the steps that are run, 0…1.
 */
export function firstEvaluation(
  { evaluationsPerStep }: Pick<Sampler, 'evaluationsPerStep'>,
  steps: number,
  strength: number,
): number {
  const run = Math.min(steps, Math.max(1, Math.floor(steps * strength)));
  return (steps - run) * evaluationsPerStep;
}
