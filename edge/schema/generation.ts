import { z } from '@hono/zod-openapi';
import { openaiFields } from './openai.ts';
import { pictureFields } from './pictures.ts';
import { samplingFields } from './sampling.ts';

/**
 * Body of POST /v1/images/generations: OpenAI's fields, then this server's own. A field that is null is as good as
 * left out. Others are let through, and reported as ignored.
 */
export const generationBody = z
  .looseObject({ ...openaiFields, ...samplingFields, ...pictureFields })
  .openapi('ImageGenerationRequest');

export type GenerationBody = z.output<typeof generationBody>;
