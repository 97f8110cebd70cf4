import { createRoute, OpenAPIHono } from '@hono/zod-openapi';
import { limitsOf } from '../guard/caller.ts';
import { drawSeed, idempotencyKey } from '../idempotency.ts';
import { withPictures } from '../pictures.ts';
import { errorReplies } from '../schema/common.ts';
import { generationBody } from '../schema/generation.ts';
import { ignoredFields, toGenerateRequest } from '../schema/to-sidecar.ts';
import { jsonBody, limitBody, requireType } from './body.ts';
import { type ImagesOptions, imagesContent, imagesResponse } from './images.ts';

const route = createRoute({
  method: 'post',
  path: '/v1/images/generations',
  summary: 'Make images from text',
  description:
    'OpenAI’s Images API. With `stream`, server-sent events: `image_generation.partial_image`, `.completed`, or `error`, and `.progress` where `progress` asks for it. With `Accept: image/png`, `image/jpeg` or `image/webp`, the picture itself (n = 1).',
  request: { body: { required: true, content: { 'application/json': { schema: generationBody } } } },
  responses: { 200: imagesContent, ...errorReplies },
});

/** POST /v1/images/generations */
export function generations(options: ImagesOptions): OpenAPIHono {
  const { limits } = options;
  const app = new OpenAPIHono();
  app.openAPIRegistry.registerPath(route);
  app.post(route.path, requireType('application/json'), limitBody(limits.imageBodyBytes), async (c) => {
    const body = await withPictures(await jsonBody(c, generationBody), options.fetchPicture);
    const key = await idempotencyKey(c);
    const ignored = ignoredFields(body, generationBody.shape);
    const request = toGenerateRequest(body, { limits: limitsOf(c, limits), drawn: drawSeed(key) });
    const asked = { request, ignored, idempotencyKey: key, event: 'image_generation' } as const;
    return imagesResponse(c, body, asked, options);
  });
  return app;
}
