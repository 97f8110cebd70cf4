import { z } from '@hono/zod-openapi';
import { imageFile } from './file.ts';
import { name } from './text.ts';

const share = (description: string) => z.number().min(0).max(1).nullish().openapi({ description });

/** Names and ranges beyond these are the sidecar's to check: it knows the preprocessors and the model's levels. */
export const controlUnit = z
  .object({
    model: name.openapi({ description: 'A ControlNet of the server’s.', example: 'canny' }),
    image: imageFile('What it looks at; default: init_image.').nullish(),
    preprocessor: z.string().max(256).nullish().openapi({
      description: 'What makes a hint of the picture: canny, soft-edge, scribble, …; none: it is a hint.',
      default: 'none',
      example: 'canny',
    }),
    preprocessor_options: z
      .record(z.string().max(64), z.number())
      .nullish()
      .openapi({ description: 'Its own numbers by name.', example: { low_threshold: 100 } }),
    resize: z
      .string()
      .max(64)
      .nullish()
      .openapi({ description: 'crop, fit or stretch, to the size of the result.', default: 'crop' }),
    scale: z
      .union([z.number().min(-10).max(10), z.array(z.number().min(-10).max(10)).min(1).max(1000)])
      .nullish()
      .openapi({ description: 'How much it counts: one number, or one for each step.', default: 1 }),
    start: share('The share of the steps before it takes part. Default: 0.'),
    end: share('The share of the steps after which it no longer does. Default: 1.'),
    mode: z
      .string()
      .max(64)
      .nullish()
      .openapi({ description: 'What counts more: balanced, prompt or control.', default: 'balanced' }),
    level_scale: z
      .array(z.number())
      .max(64)
      .nullish()
      .openapi({ description: 'Factors of the levels, first skip connection to middle.' }),
  })
  .openapi('ControlUnit');

export type ControlUnitBody = z.output<typeof controlUnit>;
