import type { Context, MiddlewareHandler } from 'hono';
import { secureHeaders } from 'hono/secure-headers';
import { timing } from 'hono/timing';
import { authenticate } from './caller.ts';
import type { ApiKey } from './keys.ts';
import { allowOrigins, checkHost, checkOrigin, type OriginOptions } from './origins.ts';
import { limitRate, type RateLimiter } from './rate.ts';

export interface GuardOptions extends OriginOptions {
  /** Empty: nobody is asked for a key; undefined: nobody is let in. Looked at for each request: others may follow. */
  keys: readonly ApiKey[] | undefined;
  limiter: RateLimiter;
  /** Who a caller without a key is. */
  addressOf: (c: Context) => string;
}

/** A server on loopback, for who is on that machine. */
export const openGuard: GuardOptions = {
  keys: [],
  allowedOrigins: [],
  allowedHosts: [],
  limiter: async () => undefined,
  addressOf: () => '',
};

/** What stands before every route, in order. */
export function guard(options: GuardOptions): MiddlewareHandler[] {
  return [
    timing({ totalDescription: 'until the reply began' }),
    secureHeaders({
      // A proxy that ends TLS is who can promise it.
      strictTransportSecurity: false,
      // Replies are data; a page sets its own.
      contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
      overwrite: false,
    }),
    checkHost(options.allowedHosts),
    ...(options.allowedOrigins.length > 0 ? [allowOrigins(options.allowedOrigins)] : []),
    checkOrigin(options.allowedOrigins),
    authenticate(options),
    limitRate(options.limiter, options.addressOf),
  ];
}
