import type { PublicNames } from '../errors.ts';

/** What fields of the contract are called on these routes, for messages. */
const fields: PublicNames = {
  ...{ seeds: 'seed', count: 'batch_size', width: 'width', height: 'height', adapters: 'prompt' },
  ...{ guidance_scale: 'cfg_scale', sampler: 'sampler_name', schedule: 'scheduler' },
  ...{ strength: 'denoising_strength', init_image: 'init_images[0]' },
  ...{ only_masked_padding: 'inpaint_full_res_padding', mask_channel: 'inpainting_mask_invert' },
  ...{ masked_content: 'inpainting_fill', model: 'override_settings.sd_model_checkpoint' },
  ...{ refiner: 'refiner_checkpoint', refiner_start: 'refiner_switch_at' },
  ...{ hires_scale: 'hr_scale', hires_upscaler: 'hr_upscaler', hires_strength: 'denoising_strength' },
  ...{ clip_skip: 'override_settings.CLIP_stop_at_last_layers' },
  ...{ format: 'override_settings.samples_format', quality: 'override_settings.jpeg_quality' },
};

const unitFields: PublicNames = {
  ...{ preprocessor: 'module', scale: 'weight', start: 'guidance_start', end: 'guidance_end' },
  ...{ mode: 'control_mode', resize: 'resize_mode' },
};
const sameUnitFields = ['model', 'image'];

/**
 * @param places where each ControlNet of the request stands among the units sent: those switched off are none.
 * @param at the field that they stand in.
 */
export function a1111Names(places: readonly number[], at: string): PublicNames {
  const all = { ...unitFields, ...Object.fromEntries(sameUnitFields.map((name) => [name, name])) };
  const units = places.flatMap((place, i) =>
    Object.entries(all).map(([field, name]) => [`control[${i}].${field}`, `${at}[${place}].${name}`]),
  );
  return { ...fields, ...Object.fromEntries(units) };
}
