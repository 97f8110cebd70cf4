import type { Tensor } from './arithmetic.ts';

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
 */
export interface Sampler {
  /**
   * What the model is given at each evaluation, in order. May be fractional and may repeat; more than the steps asked
   * for where a method evaluates the model several times a step.
   */
  readonly timesteps: readonly number[];
  /** Noise level at each step and at the end, for methods that go by it. */
  readonly sigmas?: readonly number[];
  /** Standard deviation of the initial latents. */
  readonly initNoiseSigma: number;
  /** The latents as the model wants them at evaluation `i`; may be `latents` itself. */
  scaleInput(latents: Tensor, i: number): Tensor;
  /**
   * The latents after evaluation `i`. `latents` are those before `scaleInput`, as the last step returned them; neither
   * they nor `output` are written to.
   * @param output what the model predicted, guidance applied.
   */
  step(output: Tensor, i: number, latents: Tensor, noise: Noise): Tensor;
}

export interface RunOptions {
  /** Steps asked for. */
  steps: number;
  /** Noise of DDIM's steps: 0 none, 1 as much as DDPM's. Others have no use for it. */
  eta: number;
}
