import { z } from 'zod';
import { count } from '../checkpoints/config.ts';
import { errors } from '../errors.ts';
import { field, noiseScheduleFields, noThresholding } from './config.ts';

/** Fields of the classes for distilled consistency models, LCM and TCD. */
export const consistencyFields = (className: string) => ({
  ...noiseScheduleFields(className, { beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear' }),
  ...noThresholding,
  prediction_type: field.predictionType('epsilon', 'v_prediction', 'sample'),
  rescale_betas_zero_snr: field.flag(false),
  set_alpha_to_one: field.flag(true),
  timestep_spacing: field.timestepSpacing('leading'),
  clip_sample: field.flag(false),
  clip_sample_range: z.number().gt(0).default(1),
  timestep_scaling: z.number().gt(0).default(10),
  /** Timesteps that distillation knew. */
  original_inference_steps: count(100_000).default(50),
});

interface Config {
  num_train_timesteps: number;
  original_inference_steps: number;
}

/**
 * `steps` of the timesteps that a model was distilled on, evenly spaced by their number and falling.
 * @throws ServiceError for more steps than those.
 */
export function distilledTimesteps(config: Config, steps: number): number[] {
  const { num_train_timesteps: trained, original_inference_steps: known } = config;
  const most = Math.min(known, trained);
  if (steps > most)
    throw errors.invalidArgument(
      'steps',
      `a whole number from 1 to ${most}, as the sampler knows no more timesteps than distillation had,`,
      steps,
    );
  const stride = Math.floor(trained / most);
  return Array.from({ length: steps }, (_, i) => (most - Math.floor(i * (most / steps))) * stride - 1);
}
