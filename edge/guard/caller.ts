import type { Context, MiddlewareHandler } from 'hono';
import { ApiError } from '../errors.ts';
import type { Limits } from '../limits.ts';
import { type ApiKey, findKey, type Scope, scopes } from './keys.ts';

/** Who asks. */
export interface Caller {
  /** The key's name; empty where no key is asked for. */
  name: string;
  key: ApiKey | undefined;
}

/** The caller of a request that has come past `authenticate`. */
export function callerOf(c: Context): Caller {
  return c.get('caller') ?? { name: '', key: undefined };
}

/** The server's limits, or what the caller's key has of its own below them. */
export function limitsOf(c: Context, limits: Limits): Limits {
  const own = callerOf(c).key?.pixels_per_request ?? limits.replyPixels;
  return { ...limits, replyPixels: Math.min(limits.replyPixels, own) };
}

/**
 * Asks for a key on every route but pages and health. Without keys nobody is asked for one; `undefined` lets nobody
 * in, for where an open server would be open to the world.
 */
export function authenticate(guard: { readonly keys: readonly ApiKey[] | undefined }): MiddlewareHandler {
  return async (c, next) => {
    const { keys } = guard;
    if (isPublic(c) || keys?.length === 0) return next();
    if (!keys)
      throw new ApiError(401, 'no_api_keys', 'This server has no API keys yet: its operator sets API_KEYS');
    const presented = presentedKey(c);
    const key = presented && (await findKey(keys, presented));
    if (!key) {
      c.header('www-authenticate', 'Bearer');
      const received = presented ? 'one that is not known' : 'none';
      throw new ApiError(401, 'invalid_api_key', `Expected an API key but received ${received}`);
    }
    const needed = neededScope(c);
    if (!allows(key, needed))
      throw new ApiError(
        403,
        'insufficient_scope',
        `Expected a key with scope ${needed} but this has ${key.scopes}`,
      );
    c.set('caller', { name: key.name, key } satisfies Caller);
    return next();
  };
}

/** Paths that ask for no key. */
export const publicPaths: ReadonlySet<string> = new Set([
  '/',
  '/healthz',
  '/openapi.json',
  '/docs',
  '/favicon.ico',
]);

/** Pages, their parts, the schemas, and health: nothing of anybody's. */
function isPublic(c: Context): boolean {
  const { method, path } = c.req;
  if (method !== 'GET' && method !== 'HEAD') return false;
  return publicPaths.has(path) || path.startsWith('/playground/') || path.startsWith('/docs/');
}

/** `Authorization: Bearer`, the password of `Basic` (A1111's clients), or `x-api-key`. */
function presentedKey(c: Context): string | undefined {
  const [, scheme, value] = /^(Bearer|Basic) +(\S+)$/i.exec(c.req.header('authorization') ?? '') ?? [];
  if (!scheme) return c.req.header('x-api-key');
  if (scheme.toLowerCase() === 'bearer') return value;
  try {
    return atob(value!).split(':').slice(1).join(':');
  } catch {
    return undefined;
  }
}

function neededScope(c: Context): Scope {
  const { method } = c.req;
  return method === 'GET' || method === 'HEAD' ? 'read' : 'generate';
}

/** Each scope includes those before it. */
function allows(key: ApiKey, needed: Scope): boolean {
  return key.scopes.some((scope) => scopes.indexOf(scope) >= scopes.indexOf(needed));
}
