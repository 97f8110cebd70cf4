import { z } from '@hono/zod-openapi';
import { name, text } from './text.ts';

export const MAX_SEED = Number.MAX_SAFE_INTEGER;

/** This server's own fields about words, steps, and whose turn it is. */
export const samplingFields = {
  negative_prompt: text
    .nullish()
    .openapi({ description: 'What to keep away from; needs guidance_scale > 1.', example: 'blurry' }),
  prompt_syntax: z.enum(['weighted', 'plain']).nullish().openapi({
    description:
      'weighted: (a:1.3), [b], BREAK, learned words, any length; plain: as it stands, cut at 77 tokens.',
    default: 'weighted',
  }),
  seed: z
    .int()
    .min(0)
    .max(MAX_SEED)
    .nullish()
    .openapi({ description: 'Default: one is drawn.', example: 42 }),
  steps: z
    .int()
    .min(1)
    .max(1000)
    .nullish()
    .openapi({ description: 'Denoising steps. Default: the model’s.', example: 20 }),
  guidance_scale: z
    .number()
    .min(0)
    .max(100)
    .nullish()
    .openapi({ description: 'Classifier-free guidance; off up to 1. Default: the model’s.', example: 7.5 }),
  guidance_rescale: z
    .number()
    .min(0)
    .max(1)
    .nullish()
    .openapi({ description: 'How much of the guided prediction’s deviation is drawn back.' }),
  sampler: z.string().max(64).nullish().openapi({ description: 'Default: the model’s.', example: 'euler' }),
  schedule: z
    .string()
    .max(64)
    .nullish()
    .openapi({ description: 'Spacing of noise levels.', example: 'karras' }),
  eta: z.number().min(0).max(1).nullish().openapi({ description: 'Share of fresh noise of DDIM and TCD.' }),
  clip_skip: z
    .int()
    .min(0)
    .max(11)
    .nullish()
    .openapi({ description: 'Last layers of the text encoder to leave out.' }),
  loras: z
    .array(z.object({ name, scale: z.number().min(-100).max(100).nullish() }))
    .max(16)
    .nullish()
    .openapi({
      description: 'Adapters to add, for this request alone: names of the server’s, scale 1 by default.',
      example: [{ name: 'watercolour', scale: 0.8 }],
    }),
  priority: z.enum(['interactive', 'bulk']).nullish().openapi({
    description: 'bulk makes way for interactive requests. Default: interactive; of a job bulk.',
  }),
};
