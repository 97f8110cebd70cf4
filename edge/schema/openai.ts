import { z } from '@hono/zod-openapi';
import { size } from './size.ts';
import { text } from './text.ts';

const accepted = z.string().max(256).nullish().openapi({ description: 'Accepted, without effect.' });

/** OpenAI's fields, of every route that makes images. */
export const openaiFields = {
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
  size: size.nullish().openapi({
    description: 'WIDTHxHEIGHT; auto: as the picture to begin from, else the model’s own.',
    default: 'auto',
  }),
  response_format: z.enum(['b64_json', 'url']).nullish().openapi({
    description:
      'Images come in the reply, url as data URLs: nothing is stored. Streams always have b64_json.',
    default: 'b64_json',
  }),
  output_format: z.enum(['png', 'jpeg', 'webp']).nullish().openapi({ default: 'png' }),
  output_compression: z
    .int()
    .min(0)
    .max(100)
    .nullish()
    .openapi({ description: 'Quality of jpeg and webp, 100 the best.', default: 100 }),
  stream: z.boolean().nullish().openapi({ description: 'Server-sent events instead of one JSON reply.' }),
  partial_images: z.int().min(0).max(3).nullish().openapi({ description: 'Previews in the stream.' }),
  progress: z
    .boolean()
    .nullish()
    .openapi({ description: 'An event for each step in the stream, besides OpenAI’s.', default: false }),

  quality: accepted,
  style: accepted,
  background: accepted,
  moderation: accepted,
  user: accepted,
  input_fidelity: accepted,
};

/** Of them, what changes nothing here. */
export const withoutEffect = [
  'quality',
  'style',
  'background',
  'moderation',
  'user',
  'input_fidelity',
] as const;
