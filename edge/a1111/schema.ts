import { z } from '@hono/zod-openapi';
import { imageFile } from '../schema/file.ts';
import { MAX_SEED } from '../schema/sampling.ts';
import { text } from '../schema/text.ts';

const whole = (min: number, max: number) => z.int().min(min).max(max).nullish();
const number = (min: number, max: number) => z.number().min(min).max(max).nullish();
const name = z.string().max(256).nullish();

/** Fields of A1111's API that have an effect here; the others are let through, and reported. */
const shared = {
  prompt: text.nullish().openapi({ example: 'red apple' }),
  negative_prompt: text.nullish(),
  seed: z.int().min(-1).max(MAX_SEED).nullish().openapi({ description: '−1: drawn.', example: 42 }),
  steps: whole(1, 1000),
  cfg_scale: number(0, 100),
  width: whole(8, 4096),
  height: whole(8, 4096),
  batch_size: whole(1, 16).openapi({ description: 'Images: batch_size · n_iter, at most 16.' }),
  n_iter: whole(1, 16),
  sampler_name: name.openapi({ example: 'Euler a' }),
  sampler_index: name,
  scheduler: name.openapi({ example: 'Karras' }),
  eta: number(0, 1),
  refiner_checkpoint: name,
  refiner_switch_at: number(0, 1),
  denoising_strength: number(0, 1),
  override_settings: z.record(z.string().max(64), z.unknown()).nullish(),
  alwayson_scripts: z.record(z.string().max(64), z.unknown()).nullish().openapi({
    description: 'ControlNet: {"args": [units]}.',
  }),
  script_name: z.string().max(64).nullish(),
  send_images: z.boolean().nullish(),
};

/** Body of POST /sdapi/v1/txt2img. */
export const txt2imgBody = z
  .looseObject({
    ...shared,
    enable_hr: z.boolean().nullish(),
    hr_scale: number(1, 4),
    hr_upscaler: name,
    hr_resize_x: whole(0, 4096),
    hr_resize_y: whole(0, 4096),
  })
  .openapi('Txt2ImgRequest');

/** Body of POST /sdapi/v1/img2img. */
export const img2imgBody = z
  .looseObject({
    ...shared,
    init_images: z.array(imageFile('A picture.')).nullish(),
    mask: imageFile('White is made anew.').nullish(),
    mask_blur: whole(0, 256),
    inpainting_mask_invert: z.union([z.int(), z.boolean()]).nullish(),
    inpaint_full_res: z.union([z.boolean(), z.int()]).nullish(),
    inpaint_full_res_padding: whole(0, 4096),
    inpainting_fill: whole(0, 3).openapi({
      description:
        'What the mask covers begins from: 0 filled, 1 as it is, 2 latent noise, 3 latent nothing.',
    }),
  })
  .openapi('Img2ImgRequest');

export type SharedBody = z.output<z.ZodObject<typeof shared>>;
export type Txt2ImgBody = z.output<typeof txt2imgBody>;
export type Img2ImgBody = z.output<typeof img2imgBody>;

/** One of alwayson_scripts.ControlNet.args. */
export const controlNetUnit = z.looseObject({
  enabled: z.boolean().nullish(),
  image: z.unknown().optional(),
  input_image: z.unknown().optional(),
  module: name,
  model: name,
  weight: number(-10, 10),
  resize_mode: z.union([z.int(), z.string().max(64)]).nullish(),
  threshold_a: z.number().nullish(),
  threshold_b: z.number().nullish(),
  guidance_start: number(0, 1),
  guidance_end: number(0, 1),
  control_mode: z.union([z.int(), z.string().max(64)]).nullish(),
});

export const imagesReply = z
  .object({
    images: z.array(z.string()).openapi({ description: 'Files in base64.' }),
    parameters: z.record(z.string(), z.unknown()).openapi({ description: 'The request, without pictures.' }),
    info: z.string().openapi({ description: 'JSON: seed, all_seeds, infotexts, …' }),
  })
  .openapi('SdApiImages');
