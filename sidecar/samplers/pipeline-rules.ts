import type { RawSchedulerConfig } from './config.ts';

/** `_class_name` of a model_index.json. */
export type PipelineClass = string;

const STEPS_OFFSET_1 = new Set([
  'StableDiffusionPipeline',
  'StableDiffusionImg2ImgPipeline',
  'StableDiffusionInpaintPipeline',
]);
const NO_CLIPPING = new Set(['StableDiffusionPipeline', 'StableDiffusionImg2ImgPipeline']);

/**
 * What diffusers' pipelines change in a checkpoint's scheduler config when they are put together, since early
 * published configs were wrong: Stable Diffusion 1.x and 2.x want `steps_offset` 1, no clipping of latents, and (for
 * inpainting) no Runge-Kutta steps. Other pipelines (SDXL, LDM) take the config as it is.
 *
 * @param derived whether another class than the config's own will read it. A field that the config lacks then keeps
 * that class's default, apart from `clip_sample`: latents are not pixels in −1…1, so DDIM's default of clipping them
 * is only for configs that ask for it.
 */
export function pipelineRules(
  config: RawSchedulerConfig,
  { pipeline = '', derived }: { pipeline?: PipelineClass | undefined; derived: boolean },
): RawSchedulerConfig {
  const defaults = new Set(Array.isArray(config._use_default_values) ? config._use_default_values : []);
  const changed = Object.fromEntries(Object.entries(config).filter(([key]) => !defaults.has(key)));
  if (STEPS_OFFSET_1.has(pipeline) && (!derived || 'steps_offset' in changed)) changed.steps_offset = 1;
  if (NO_CLIPPING.has(pipeline)) changed.clip_sample = false;
  if (derived) changed.clip_sample ??= false;
  if (pipeline === 'StableDiffusionInpaintPipeline') changed.skip_prk_steps = true;
  return changed;
}
