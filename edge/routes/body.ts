import type { Context, MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { createMiddleware } from 'hono/factory';
import type { z } from 'zod';
import { ApiError, fromZod } from '../errors.ts';
import { checkValues } from '../json-values.ts';

/** Refuses bodies that are not of that type, or that are compressed: nobody knows how large those become. */
export function requireType(expected: 'application/json' | 'multipart/form-data'): MiddlewareHandler {
  return createMiddleware(async (c, next) => {
    const type = c.req.header('content-type') ?? '';
    if (type.split(';', 1)[0]!.trim().toLowerCase() !== expected) {
      const received = type || 'none';
      const message = `Expected content-type ${expected} but received ${received.slice(0, 80)}`;
      throw new ApiError(415, 'unsupported_media_type', message);
    }
    const encoding = c.req.header('content-encoding')?.trim().toLowerCase() ?? 'identity';
    if (encoding !== 'identity') {
      const message = `Expected no content-encoding but received ${encoding.slice(0, 80)}`;
      throw new ApiError(415, 'unsupported_media_type', message);
    }
    await next();
  });
}

/** Refuses larger bodies, whether they say their length or not. */
export function limitBody(maxSize: number): MiddlewareHandler {
  const refuse = () => {
    throw new ApiError(413, 'body_too_large', `Expected a body of at most ${maxSize} bytes`);
  };
  const counted = bodyLimit({ maxSize, onError: refuse });
  return async (c, next) => {
    const said = c.req.header('content-length');
    // A stream, which takes a while to make on Node, is needed of those alone that have to be counted.
    if (said === undefined || c.req.header('transfer-encoding') !== undefined) return counted(c, next);
    return Number(said) <= maxSize ? next() : refuse();
  };
}

/** @throws ApiError for a body that is no JSON, or not as the schema has it. */
export async function jsonBody<Schema extends z.ZodType>(
  c: Context,
  schema: Schema,
): Promise<z.output<Schema>> {
  const json = parseJson(await c.req.text());
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw fromZod(parsed.error, json, '', schema);
  return parsed.data;
}

function parseJson(text: string): unknown {
  checkValues(text);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ApiError(400, 'invalid_request', 'Malformed JSON in request body', { cause });
  }
}
