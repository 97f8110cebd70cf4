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
  ...{ lora: 'loras', adapters: 'loras', lora_weights: 'loras', sd_model_checkpoint: 'model' },
};

/** @throws ApiError naming the field that was meant. */
export function rejectForeignNames(body: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(body)) {
    const own = Object.hasOwn(ours, name) ? ours[name] : undefined;
    if (own === undefined || value === undefined || value === null) continue;
    throw new ApiError(400, 'unsupported_parameter', `Expected ${own} but received ${name}`, { param: name });
  }
}
