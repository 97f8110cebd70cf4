import type { Context, MiddlewareHandler } from 'hono';
import { ApiError } from '../errors.ts';
import { callerOf } from './caller.ts';

/** Counts a request of somebody. Undefined: it may pass; else milliseconds until the next may. */
export type RateLimiter = (who: string, perMinute: number | undefined) => Promise<number | undefined>;

/** Cloudflare's binding; its numbers stand in wrangler.toml. */
export interface RateLimitBinding {
  limit(options: { key: string }): Promise<{ success: boolean }>;
}

const BINDING_RETRY_MS = 10_000;

export function bindingLimiter(binding: RateLimitBinding): RateLimiter {
  return async (who) => ((await binding.limit({ key: who })).success ? undefined : BINDING_RETRY_MS);
}

/**
 * Limits what makes work: everything but reading.
 * @param addressOf who a caller without a key is
 */
export function limitRate(limiter: RateLimiter, addressOf: (c: Context) => string): MiddlewareHandler {
  return async (c, next) => {
    if (c.req.method === 'GET' || c.req.method === 'HEAD') return next();
    const { name, key } = callerOf(c);
    const wait = await limiter(name ? `key:${name}` : `address:${addressOf(c)}`, key?.requests_per_minute);
    if (wait !== undefined)
      throw new ApiError(
        429,
        'rate_limit_exceeded',
        `Too many requests: the next in ${Math.ceil(wait / 1000)} s`,
        {
          retryAfterMs: wait,
        },
      );
    return next();
  };
}
