import { createRoute, OpenAPIHono } from '@hono/zod-openapi';
import { fromZod } from '../errors.ts';
import { errorReplies } from '../schema/common.ts';
import { generationBody } from '../schema/generation.ts';
import { toGenerateRequest } from '../schema/to-sidecar.ts';
import { limitBody, requireType } from './body.ts';
import { type ImagesOptions, imagesContent, imagesResponse } from './images.ts';

const route = (maxBytes: number) =>
  createRoute({
    method: 'post',
    path: '/v1/images/generations',
    summary: 'Make images from text',
    description:
      'OpenAI’s Images API. With `stream`, server-sent events: `image_generation.progress`, `.partial_image`, `.completed`, or `error`. With `Accept: image/png`, `image/jpeg` or `image/webp`, the picture itself (n = 1).',
    middleware: [requireType('application/json'), limitBody(maxBytes)] as const,
    request: { body: { required: true, content: { 'application/json': { schema: generationBody } } } },
    responses: { 200: imagesContent, ...errorReplies },
  });

/** POST /v1/images/generations */
export function generations(options: ImagesOptions): OpenAPIHono {
  const { limits } = options;
  const app = new OpenAPIHono({
    defaultHook: (result) => {
      if (!result.success) throw fromZod(result.error, (result as { data?: unknown }).data);
    },
  });
  return app.openapi(route(limits.imageBodyBytes), async (c) => {
    const body = c.req.valid('json');
    const { request, ignored } = toGenerateRequest(body, limits);
    return (await imagesResponse(c, body, { request, ignored, event: 'image_generation' }, options)) as never;
  }) as unknown as OpenAPIHono;
}
