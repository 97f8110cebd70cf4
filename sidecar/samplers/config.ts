import { z } from 'zod';
import { cosmetic, count, diffusersFields, only } from '../checkpoints/config.ts';
import type { NoiseSchedule } from './schedule.ts';

// Fields of scheduler_config.json. Those of a class are understood, cosmetic, or fixed to values that change nothing;
// those of other classes are left over from conversions and mean nothing, as in diffusers.

const flag = (value: boolean) =>
  z
    .boolean()
    .nullable()
    .default(value)
    .transform((v) => v ?? false);

export const field = {
  flag,
  predictionType: (...types: ('epsilon' | 'v_prediction' | 'sample')[]) => z.enum(types).default('epsilon'),
  timestepSpacing: (value: 'leading' | 'linspace') =>
    z.enum(['leading', 'trailing', 'linspace']).default(value),
  finalSigmasType: z.enum(['zero', 'sigma_min']).default('zero'),
};

/** Fields of every class: the noise schedule of training, and the class's own defaults. Variances, so between 0 and 1. */
export const noiseScheduleFields = (
  className: string,
  { beta_start = 0.0001, beta_end = 0.02, beta_schedule = 'linear' }: Partial<NoiseSchedule> = {},
) => ({
  ...diffusersFields(className),
  num_train_timesteps: count(100_000).default(1000),
  beta_start: z.number().gt(0).lt(1).default(beta_start),
  beta_end: z.number().gt(0).lt(1).default(beta_end),
  beta_schedule: z.enum(['linear', 'scaled_linear', 'squaredcos_cap_v2']).default(beta_schedule),
  trained_betas: z.array(z.number().gt(0).lte(1)).min(1).max(100_000).nullish(),
  steps_offset: z.int().min(0).max(1000).default(0),
});

/** Dynamic thresholding, which is for pixels and not for latents. */
export const noThresholding = {
  thresholding: only(false, null),
  dynamic_thresholding_ratio: cosmetic,
  sample_max_value: cosmetic,
};

/** The spread of sigmas, and its ends where they are not those of training. */
export const sigmaFields = {
  use_karras_sigmas: flag(false),
  use_exponential_sigmas: flag(false),
  use_beta_sigmas: flag(false),
  sigma_min: z.number().gt(0).nullish(),
  sigma_max: z.number().gt(0).nullish(),
};

/** Sigmas of flow matching, another kind of model. */
export const noFlow = {
  use_flow_sigmas: only(false, null),
  flow_shift: cosmetic,
  use_dynamic_shifting: only(false, null),
  time_shift_type: cosmetic,
};

/** Fields that some class of diffusers' compatible schedulers has, so that they turn up in the others' configs. */
const FIELDS_OF_SOME_CLASS = new Set(
  `algorithm_type beta_end beta_schedule beta_start clip_sample clip_sample_range disable_corrector
  dynamic_thresholding_ratio euler_at_final final_sigmas_type flow_shift interpolation_type lambda_min_clipped
  lower_order_final noise_sampler_seed num_train_timesteps original_inference_steps predict_x0 prediction_type
  rescale_betas_zero_snr rho sample_max_value set_alpha_to_one shift_terminal sigma_data sigma_max sigma_min
  sigma_schedule skip_prk_steps solver_order solver_p solver_type steps_offset thresholding time_shift_type
  timestep_scaling timestep_spacing timestep_type trained_betas use_beta_sigmas use_dynamic_shifting
  use_exponential_sigmas use_flow_sigmas use_karras_sigmas use_lu_lambdas variance_type`.split(/\s+/),
);

/** A scheduler_config.json before it is known which class reads it. */
export type RawSchedulerConfig = Record<string, unknown>;

/**
 * The fields of a config that a class with `fields` has to answer for: its own, and those that no class is known to
 * have unless they are switched off.
 */
export function relevantFields(config: RawSchedulerConfig, fields: object): RawSchedulerConfig {
  const neutral = (value: unknown) =>
    value === null || value === false || (Array.isArray(value) && value.length === 0);
  return Object.fromEntries(
    Object.entries(config).filter(
      ([key, value]) =>
        key in fields || !(key.startsWith('_') || FIELDS_OF_SOME_CLASS.has(key) || neutral(value)),
    ),
  );
}

/**
 * Parses JSON as Python writes it, with bare Infinity, -Infinity and NaN: a DPM-Solver's scheduler_config.json says
 * `"lambda_min_clipped": -Infinity`.
 * @throws SyntaxError
 */
export function parsePythonJson(text: string): unknown {
  const quoted = text.replace(/"(?:[^"\\]|\\.)*"|-?Infinity\b|\bNaN\b/g, (token) =>
    token.startsWith('"') ? token : `"\\u0000${token}"`,
  );
  return JSON.parse(quoted, (_, value) =>
    typeof value === 'string' && /^\0(-?Infinity|NaN)$/.test(value) ? Number(value.slice(1)) : value,
  );
}
