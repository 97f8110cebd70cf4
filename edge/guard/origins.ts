import type { MiddlewareHandler } from 'hono';
import { cors } from 'hono/cors';
import { ApiError } from '../errors.ts';

export interface OriginOptions {
  /** Origins whose pages may call this server, `https://example.org`; `*`: all. */
  allowedOrigins: readonly string[];
  /** Names this server is called by, besides loopback's and addresses; undefined: any. */
  allowedHosts: readonly string[] | undefined;
}

/**
 * Refuses names that are none of this server's: a page whose own name has been made to point here (DNS rebinding) is
 * of the same origin, for its browser.
 */
export function checkHost(allowedHosts: readonly string[] | undefined): MiddlewareHandler {
  return (c, next) => {
    if (!allowedHosts) return next();
    const host = c.req.header('host') ?? new URL(c.req.url).host;
    const name = hostname(host);
    if (!isAddress(name) && !isLocal(name) && !allowedHosts.includes(name))
      throw new ApiError(
        403,
        'host_not_allowed',
        `Expected a name of this server for the header host but received ${JSON.stringify(host.slice(0, 80))}: ALLOWED_HOSTS lists them`,
      );
    return next();
  };
}

/**
 * Refuses what other origins' pages send: a browser lets them post forms and plain bodies anywhere, loopback included.
 * Reading is the browser's to refuse: it shows them no reply without CORS headers.
 */
export function checkOrigin(allowedOrigins: readonly string[]): MiddlewareHandler {
  return (c, next) => {
    if (c.req.method === 'GET' || c.req.method === 'HEAD') return next();
    const origin = c.req.header('origin');
    const site = c.req.header('sec-fetch-site');
    const own = origin !== undefined && sameHost(origin, c.req.header('host') ?? new URL(c.req.url).host);
    const foreign = origin === undefined ? site === 'cross-site' || site === 'same-site' : !own;
    if (foreign && !isAllowed(allowedOrigins, origin))
      throw new ApiError(
        403,
        'origin_not_allowed',
        `Expected a request of this server's own pages but received one of ${origin ?? 'another site'}: ALLOWED_ORIGINS lists others`,
      );
    return next();
  };
}

/** CORS, for the origins that are allowed. */
export function allowOrigins(allowedOrigins: readonly string[]): MiddlewareHandler {
  return cors({
    origin: (origin) => (isAllowed(allowedOrigins, origin) ? origin : null),
    allowMethods: ['GET', 'HEAD', 'POST', 'DELETE'],
    exposeHeaders: [
      ...['x-request-id', 'x-seed', 'x-ignored', 'etag', 'content-location', 'location', 'cache-status'],
      ...['retry-after', 'retry-after-ms', 'x-should-retry', 'server-timing'],
    ],
    maxAge: 600,
  });
}

function isAllowed(allowedOrigins: readonly string[], origin: string | undefined): boolean {
  return allowedOrigins.includes('*') || (origin !== undefined && allowedOrigins.includes(origin));
}

/** The scheme may differ: a proxy that ends TLS speaks plain HTTP here. */
function sameHost(origin: string, host: string): boolean {
  return URL.canParse(origin) && new URL(origin).host === host.toLowerCase();
}

/** `[::1]:80` → `[::1]`, `Example.org:80` → `example.org` */
function hostname(host: string): string {
  return host.toLowerCase().replace(/:\d*$/, '').replace(/\.$/, '');
}

/** An address cannot be made to point elsewhere. */
function isAddress(name: string): boolean {
  return /^\d+\.\d+\.\d+\.\d+$/.test(name) || /^\[[0-9a-f:.]+\]$/.test(name);
}

function isLocal(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost');
}
