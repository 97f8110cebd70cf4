import { createRoute, OpenAPIHono } from '@hono/zod-openapi';
import { errorReplies, json } from '../schema/common.ts';
import { namesOf, namesReply } from '../schema/names.ts';
import type { SidecarClient } from '../sidecar/client.ts';

const TIMEOUT_MS = 10_000;

const route = createRoute({
  method: 'get',
  path: '/v1/names',
  summary: 'What else can be named in a request: samplers, schedules, preprocessors, adapters',
  responses: { 200: json(namesReply, 'The names.'), 503: errorReplies[503] },
});

/** GET /v1/names */
export function names(sidecar: SidecarClient): OpenAPIHono {
  return new OpenAPIHono().openapi(route, async (c) => {
    const found = await sidecar.listNames({ signal: c.req.raw.signal, timeoutMs: TIMEOUT_MS });
    return c.json(namesOf(found), 200);
  }) as unknown as OpenAPIHono;
}
