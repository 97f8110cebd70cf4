import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi';
import { markReply } from '../cache/replies.ts';
import type { ResultCache } from '../cache/results.ts';
import { ApiError } from '../errors.ts';
import { callerOf } from '../guard/caller.ts';
import { errorReply, json } from '../schema/common.ts';
import { imagesContent, representationOf, resultResponse } from './images.ts';

const route = createRoute({
  method: 'get',
  path: '/v1/images/{hash}',
  summary: 'What a seeded request has made',
  description: 'By the hash that `content-location` of its reply named, for as long as it is kept.',
  request: { params: z.object({ hash: z.string() }) },
  responses: {
    200: imagesContent,
    304: { description: 'What `if-none-match` names is still what there is.' },
    404: json(errorReply, 'There is nothing of that hash, or no more.'),
  },
});

/** GET /v1/images/{hash} */
export function storedImages(cache: ResultCache | undefined): OpenAPIHono {
  return new OpenAPIHono().openapi(route, async (c) => {
    const { hash } = c.req.valid('param');
    // Names of other routes.
    if (!/^[0-9a-f]{64}$/.test(hash)) return c.notFound() as never;
    const stored = await cache?.get(hash, callerOf(c).name);
    if (!cache || !stored)
      throw new ApiError(404, 'image_not_found', 'There is nothing kept of that hash', { param: 'hash' });
    const tag = markReply(c, cache, hash, stored, representationOf(c, stored.result));
    const known = (c.req.header('if-none-match') ?? '')
      .split(',')
      .map((each) => each.trim().replace(/^W\//, ''));
    if (known.includes(tag) || known.includes('*')) return c.body(null, 304) as never;
    return resultResponse(c, stored.result, stored.ignored, stored.created) as never;
  }) as unknown as OpenAPIHono;
}
