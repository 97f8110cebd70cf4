import type { MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { createMiddleware } from 'hono/factory';
import { ApiError } from '../errors.ts';

/** Refuses bodies that are not of that type. */
export function requireType(expected: 'application/json' | 'multipart/form-data'): MiddlewareHandler {
  return createMiddleware(async (c, next) => {
    const type = c.req.header('content-type') ?? '';
    if (type.split(';', 1)[0]!.trim().toLowerCase() !== expected) {
      const received = type || 'none';
      const message = `Expected content-type ${expected} but received ${received.slice(0, 80)}`;
      throw new ApiError(415, 'unsupported_media_type', message);
    }
    await next();
  });
}

/** Refuses larger bodies, whether they say their length or not. */
export function limitBody(maxSize: number): MiddlewareHandler {
  return bodyLimit({
    maxSize,
    onError: () => {
      throw new ApiError(413, 'body_too_large', `Expected a body of at most ${maxSize} bytes`);
    },
  });
}
