import type { OpenAPIHono, z } from '@hono/zod-openapi';
import { errorReplies, json } from '../../schema/common.ts';

interface Declared {
  method: 'get' | 'post';
  path: string;
  summary: string;
  reply: z.ZodType;
  query?: z.ZodObject;
  body?: z.ZodType;
}

/** Puts a route of A1111's into the API's document. */
export function declare(app: OpenAPIHono, { method, path, summary, reply, query, body }: Declared): void {
  const { 400: bad, 404: none, 413: large, 415: type, 500: fault, 503: away } = errorReplies;
  const ofBody: Record<number, typeof bad> = body ? { 400: bad, 404: none, 413: large, 415: type } : {};
  app.openAPIRegistry.registerPath({
    ...{ method, path, summary, description: 'As in AUTOMATIC1111’s web UI.' },
    request: {
      ...(query && { query }),
      ...(body && { body: { required: true, content: { 'application/json': { schema: body } } } }),
    },
    responses: { 200: json(reply, 'As there.'), ...ofBody, 500: fault, 503: away },
  });
}
