import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi';
import { ApiError } from '../errors.ts';
import { errorReplies, json, modelList, modelObject } from '../schema/common.ts';
import { modelOf } from '../schema/from-sidecar.ts';
import type { SidecarClient } from '../sidecar/client.ts';

const TIMEOUT_MS = 10_000;

const list = createRoute({
  method: 'get',
  path: '/v1/models',
  summary: 'List the models',
  responses: { 200: json(modelList, 'The models.'), 503: errorReplies[503] },
});

const retrieve = createRoute({
  method: 'get',
  path: '/v1/models/{id}',
  summary: 'One model',
  request: { params: z.object({ id: z.string() }) },
  responses: { 200: json(modelObject, 'The model.'), 404: errorReplies[404], 503: errorReplies[503] },
});

/** GET /v1/models and /v1/models/{id} */
export function models(sidecar: SidecarClient): OpenAPIHono {
  return new OpenAPIHono()
    .openapi(list, async (c) => {
      const found = await sidecar.listModels({ signal: c.req.raw.signal, timeoutMs: TIMEOUT_MS });
      return c.json({ object: 'list' as const, data: found.map(modelOf) }, 200);
    })
    .openapi(retrieve, async (c) => {
      const { id } = c.req.valid('param');
      const found = await sidecar.listModels({ signal: c.req.raw.signal, timeoutMs: TIMEOUT_MS });
      const model = found.find(({ name }) => name === id);
      if (!model)
        throw new ApiError(404, 'model_not_found', `There is no model ${JSON.stringify(id.slice(0, 80))}`, {
          param: 'model',
        });
      return c.json(modelOf(model), 200);
    }) as unknown as OpenAPIHono;
}
