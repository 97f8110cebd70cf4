import { z } from '@hono/zod-openapi';
import type { Names } from '../sidecar/client.ts';

const named = z.object({
  name: z.string(),
  aliases: z
    .array(z.string())
    .openapi({ description: 'Other spellings; case and punctuation do not count.' }),
});

const option = z.object({
  name: z.string(),
  what: z.string(),
  default: z.number(),
  min: z.number(),
  max: z.number(),
  whole: z.boolean().openapi({ description: 'Whether it has no fraction.' }),
});

export const namesReply = z
  .object({
    samplers: z.array(named),
    schedules: z.array(named),
    preprocessors: z.array(
      named.extend({
        what: z.string().openapi({ description: 'What the hint shows.' }),
        options: z.array(option),
      }),
    ),
    loras: z.array(z.string()),
    hires_upscalers: z.array(z.string()),
    embeddings: z.array(z.string()).openapi({ description: 'Learned words, for prompts.' }),
  })
  .openapi('Names');

/** The names as this API lists them. */
export function namesOf(names: Names): z.output<typeof namesReply> {
  const preprocessors = names.preprocessors.map(({ options, ...rest }) => ({
    ...rest,
    options: options.map(({ defaultValue, ...option }) => ({ ...option, default: defaultValue })),
  }));
  return {
    samplers: names.samplers,
    schedules: names.schedules,
    preprocessors,
    loras: names.adapters,
    hires_upscalers: names.hiresUpscalers,
    embeddings: [...new Set(names.embeddings.map(({ name }) => name))],
  };
}
