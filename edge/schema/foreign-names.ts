import { ApiError } from '../errors.ts';

/** What other APIs and programs call the fields of this one: sent here they would change nothing, unnoticed. */
const ours: Record<string, string> = {
  ...{ cfg_scale: 'guidance_scale', cfg: 'guidance_scale', guidance: 'guidance_scale' },
  ...{ distilled_cfg_scale: 'guidance_scale', cfg_rescale: 'guidance_rescale' },
  ...{ num_inference_steps: 'steps', num_steps: 'steps', sampling_steps: 'steps' },
  ...{ sampler_name: 'sampler', sampler_index: 'sampler', scheduler: 'sampler and schedule' },
  ...{ width: 'size', height: 'size', image_size: 'size', aspect_ratio: 'size' },
  ...{ num_images: 'n', num_images_per_prompt: 'n', batch_size: 'n', n_iter: 'n', num_outputs: 'n' },
  ...{ seeds: 'seed', generator: 'seed', clipskip: 'clip_skip', negativePrompt: 'negative_prompt' },
  // Of edits.
  ...{ init_image: 'image' },
  ...{ init_images: 'init_image', image: 'init_image', images: 'init_image', input_image: 'init_image' },
  ...{ mask_image: 'mask', denoising_strength: 'strength', image_strength: 'strength' },
  ...{ inpaint_full_res: 'only_masked_padding', inpaint_full_res_padding: 'only_masked_padding' },
  inpainting_fill: 'masked_content',
  ...{ controlnet: 'control', controlnets: 'control', control_net: 'control', control_image: 'control' },
  ...{ alwayson_scripts: 'control', controlnet_conditioning_scale: 'control' },
  ...{ refiner_checkpoint: 'refiner', refiner_switch_at: 'refiner_start', denoising_end: 'refiner_start' },
  ...{ enable_hr: 'hires_scale', hr_scale: 'hires_scale', hr_upscaler: 'hires_upscaler' },
  ...{ original_size: 'size_conditioning', crops_coords_top_left: 'size_conditioning' },
  ...{ lora: 'loras', adapters: 'loras', lora_weights: 'loras', sd_model_checkpoint: 'model' },
};

/**
 * @param known the fields that the route has.
 * @throws ApiError naming the field that was meant.
 */
export function rejectForeignNames(body: Record<string, unknown>, known: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(body)) {
    const own = Object.hasOwn(ours, name) && !Object.hasOwn(known, name) ? ours[name] : undefined;
    if (own === undefined || value === undefined || value === null) continue;
    throw new ApiError(400, 'unsupported_parameter', `Expected ${own} but received ${name}`, { param: name });
  }
}
