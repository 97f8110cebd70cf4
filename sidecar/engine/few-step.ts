import type { ResolvedSampler } from '../samplers/index.ts';

/**
 * Whether a model was distilled to a few steps without guidance (adversarial diffusion distillation, arXiv:2311.17042).
 * Of what SD-Turbo's and SDXL-Turbo's folders say, only the scheduler tells them from their teachers: Euler, ancestral
 * or not, at trailing timesteps (one step is then the last of training), for a U-Net that predicts noise. Models with
 * a zero-terminal SNR have trailing timesteps too, and are not meant.
 * @param own the sampler of the checkpoint's scheduler_config.json.
 */
export function isFewStep({ name, config }: Pick<ResolvedSampler, 'name' | 'config'>): boolean {
  return (
    (name === 'euler' || name === 'euler-ancestral') &&
    config.timestep_spacing === 'trailing' &&
    config.prediction_type === 'epsilon' &&
    !config.rescale_betas_zero_snr
  );
}

/** Steps of which `strength` leaves a whole one, and `steps` at least; a sampler takes at most 1000. */
export function stepsForStrength(steps: number, strength: number): number {
  return Math.max(steps, Math.min(1000, Math.ceil(1 / strength)));
}
