import { z } from '@hono/zod-openapi';

const sizes = z.object({
  original_width: z.int(),
  original_height: z.int(),
  crop_left: z.int(),
  crop_top: z.int(),
  target_width: z.int(),
  target_height: z.int(),
});

const control = z.object({
  model: z.string(),
  model_hash: z.string(),
  preprocessor: z.string(),
  preprocessor_options: z.record(z.string(), z.number()),
  resize: z.string(),
  scale: z.union([z.number(), z.array(z.number())]),
  start: z.number(),
  end: z.number(),
  mode: z.string(),
  level_scale: z.array(z.number()),
  evaluations: z.int().openapi({ description: 'How often it was evaluated.' }),
});

export const effectiveParameters = z
  .object({
    model: z.string(),
    model_hash: z.string().openapi({ description: 'SHA-256 of the checkpoint’s tensors.' }),
    prompt: z.string(),
    negative_prompt: z.string(),
    prompt_syntax: z.string(),
    width: z.int(),
    height: z.int(),
    seeds: z.array(z.int()),
    steps: z.int(),
    steps_run: z.int(),
    guidance_scale: z.number(),
    guidance_rescale: z.number(),
    sampler: z.string(),
    schedule: z.string(),
    eta: z.number(),
    clip_skip: z.int(),
    loras: z.array(z.object({ name: z.string(), scale: z.number() })),
    strength: z.number().optional().openapi({ description: 'Image to image only.' }),
    mask_blur: z.int().optional().openapi({ description: 'With a mask only, as the next three.' }),
    only_masked_padding: z.int().optional(),
    keep_unmasked: z.boolean().optional(),
    masked_content: z.string().optional(),
    refiner: z.string().optional(),
    refiner_start: z.number().optional(),
    hires_scale: z
      .number()
      .optional()
      .openapi({ description: 'The images are so many times larger than width and height.' }),
    hires_strength: z.number().optional(),
    hires_upscaler: z.string().optional(),
    decoder: z.string().openapi({ description: 'model, or the tiny autoencoder that decoded.' }),
    size_conditioning: sizes.optional().openapi({ description: 'Stable Diffusion XL only.' }),
    output_format: z.enum(['png', 'jpeg', 'webp']),
    output_compression: z.int().optional().openapi({ description: 'Not of png.' }),
    control: z.array(control).optional(),
    guess_mode: z.boolean().optional(),
    ignored: z.array(z.string()).openapi({ description: 'What was sent and had no effect, and why.' }),
    notes: z.array(z.string()).openapi({ description: 'What is worth knowing of how it was run.' }),
  })
  .openapi('EffectiveParameters');

export const usage = z
  .object({
    total_tokens: z.int(),
    input_tokens: z.int(),
    output_tokens: z.int(),
    input_tokens_details: z.object({ text_tokens: z.int(), image_tokens: z.int() }),
  })
  .openapi('Usage');

export const imagesReply = z
  .object({
    created: z.int().openapi({ description: 'Seconds since 1970.' }),
    data: z.array(z.object({ b64_json: z.string().optional(), url: z.string().optional(), seed: z.int() })),
    size: z.string().openapi({ description: 'WIDTHxHEIGHT of the images.' }),
    background: z.literal('opaque'),
    output_format: z.enum(['png', 'jpeg', 'webp']),
    usage,
    effective: effectiveParameters,
  })
  .openapi('ImagesResponse');

export type Effective = z.output<typeof effectiveParameters>;
export type Usage = z.output<typeof usage>;
export type ImagesReply = z.output<typeof imagesReply>;
