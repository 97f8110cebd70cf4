import type { Context } from 'hono';
import { unexpected } from './errors.ts';
import { callerOf } from './guard/caller.ts';

const HEADER = 'Idempotency-Key';

/**
 * What a client's Idempotency-Key stands for: the key, in that caller's own namespace; undefined without one. What is
 * sent again with the same key is not run again.
 * @returns 64 hexadecimal digits.
 */
export async function idempotencyKey(c: Context): Promise<string | undefined> {
  const key = c.req.header(HEADER);
  if (key === undefined) return undefined;
  if (!/^[\x20-\x7e]{1,255}$/.test(key.trim()))
    throw unexpected(HEADER, 'from 1 to 255 characters of ASCII', `${key.length} characters`);
  const caller = callerOf(c).name || (c.req.header('authorization') ?? '');
  const bytes = new TextEncoder().encode(JSON.stringify([caller, c.req.path, key.trim()]));
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * A seed for a request that names none: 32 bits, short enough to be typed again. With an idempotency key it is the
 * key's, so that what is sent again is the same request.
 */
export function drawSeed(key: string | undefined): number {
  if (key === undefined) return crypto.getRandomValues(new Uint32Array(1))[0]!;
  return Number.parseInt(key.slice(0, 8), 16);
}
