import { z } from '@hono/zod-openapi';

/** Pixels of one image, at most: 2048×2048. */
export const MAX_PIXELS = 2048 * 2048;
/** Pixels of all images of a reply, at most: as JSON, 2048×2048 of noise are 17 MB. */
export const MAX_REPLY_PIXELS = 4 * MAX_PIXELS;
/** Characters of a prompt, at most. CLIP takes about 300 of them at once. */
export const MAX_PROMPT = 32_000;
export const MAX_SEED = Number.MAX_SAFE_INTEGER;

/** Text that can be encoded: no NUL, no half of a surrogate pair. */
const text = z
  .string()
  .max(MAX_PROMPT)
  .refine((value) => !/[\0\p{Surrogate}]/u.test(value), 'well-formed text without NUL');

const size = z
  .string()
  .max(16)
  .refine((value) => value === 'auto' || parseSize(value) !== undefined, {
    message: `"auto" or WIDTHxHEIGHT, both multiples of 8 from 8 to 4096, ${MAX_PIXELS} pixels at most`,
  });

/** `512x768` → pixels; undefined where that is not a size this server makes. */
export function parseSize(value: string): { width: number; height: number } | undefined {
  const match = /^([1-9]\d{0,3})x([1-9]\d{0,3})$/.exec(value);
  if (!match) return undefined;
  const [width, height] = [Number(match[1]), Number(match[2])];
  const fits = (n: number) => n % 8 === 0 && n <= 4096;
  return fits(width) && fits(height) && width * height <= MAX_PIXELS ? { width, height } : undefined;
}

const accepted = (description: string) => z.string().max(256).nullish().openapi({ description });

/**
 * Body of POST /v1/images/generations: OpenAI's fields, then this server's own. A field that is null is as good as
 * left out. Others are let through, and reported as ignored.
 */
export const generationBody = z
  .looseObject({
    prompt: text.min(1).openapi({ description: 'What to show.', example: 'red apple' }),
    model: z
      .string()
      .max(256)
      .nullish()
      .openapi({ description: 'A name from /v1/models. Default: the server’s.' }),
    n: z
      .int()
      .min(1)
      .max(10)
      .nullish()
      .openapi({ description: 'Images; image i has the seed `seed` + i.', default: 1 }),
    size: size.nullish().openapi({ description: 'WIDTHxHEIGHT; auto: the model’s own.', default: 'auto' }),
    response_format: z.literal('b64_json').nullish().openapi({ description: 'Images come in the reply.' }),
    output_format: z.literal('png').nullish(),
    stream: z.boolean().nullish().openapi({ description: 'Server-sent events instead of one JSON reply.' }),
    partial_images: z.int().min(0).max(3).nullish().openapi({ description: 'Previews in the stream.' }),
    progress: z.boolean().nullish().openapi({ description: 'Progress events in the stream.', default: true }),

    negative_prompt: text
      .nullish()
      .openapi({ description: 'What to keep away from; needs guidance_scale > 1.' }),
    prompt_syntax: z.enum(['weighted', 'plain']).nullish().openapi({
      description:
        'weighted: (a:1.3), [b], BREAK, learned words, any length; plain: as it stands, cut at 77 tokens.',
      default: 'weighted',
    }),
    seed: z.int().min(0).max(MAX_SEED).nullish().openapi({ description: 'Default: one is drawn.' }),
    steps: z
      .int()
      .min(1)
      .max(1000)
      .nullish()
      .openapi({ description: 'Denoising steps. Default: the model’s.' }),
    guidance_scale: z.number().min(0).max(100).nullish(),
    guidance_rescale: z.number().min(0).max(1).nullish(),
    sampler: z.string().max(64).nullish().openapi({ description: 'Default: the model’s.', example: 'euler' }),
    schedule: z
      .string()
      .max(64)
      .nullish()
      .openapi({ description: 'Spacing of noise levels.', example: 'karras' }),
    eta: z.number().min(0).max(1).nullish(),
    clip_skip: z.int().min(0).max(11).nullish(),
    loras: z
      .array(z.object({ name: z.string().min(1).max(256), scale: z.number().min(-100).max(100).nullish() }))
      .max(16)
      .nullish()
      .openapi({
        description: 'Adapters to add, for this request alone: names of the server’s, scale 1 by default.',
        example: [{ name: 'watercolour', scale: 0.8 }],
      }),

    quality: accepted('Accepted, without effect.'),
    style: accepted('Accepted, without effect.'),
    background: accepted('Accepted, without effect.'),
    moderation: accepted('Accepted, without effect.'),
    user: accepted('Accepted, without effect.'),
    output_compression: z
      .int()
      .min(0)
      .max(100)
      .nullish()
      .openapi({ description: 'Accepted, without effect on PNG.' }),
  })
  .openapi('ImageGenerationRequest');

export type GenerationBody = z.output<typeof generationBody>;

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
    data: z.array(z.object({ b64_json: z.string(), seed: z.int() })),
    size: z.string(),
    output_format: z.literal('png'),
    usage,
    effective: effectiveParameters,
  })
  .openapi('ImagesResponse');

export type Effective = z.output<typeof effectiveParameters>;
export type Usage = z.output<typeof usage>;
