import type { Context } from 'hono';
import { callerOf } from '../guard/caller.ts';
import type { GenerateRequest } from '../sidecar/client.ts';
import type { ResultCache, StoredResult } from './results.ts';

/** One seeded request's place in the cache. */
export interface Place {
  stored: StoredResult | undefined;
  keep(stored: StoredResult): Promise<void>;
  /** Says on a reply what it may be asked for again by, where it is kept. */
  mark(c: Context, stored: StoredResult, representation: string): void;
}

/** Where the result of a request is, or is to be; undefined for one that is not kept. */
export async function placeOf(
  c: Context,
  cache: ResultCache | undefined,
  request: GenerateRequest,
  ignored: string[],
): Promise<Place | undefined> {
  const control = c.req.header('cache-control') ?? '';
  if (!cache || /\bno-store\b/i.test(control)) return undefined;
  const hash = await cache.hashOf(request, ignored);
  if (!hash) return undefined;
  const caller = callerOf(c).name;
  const stored = /\bno-cache\b/i.test(control) ? undefined : await cache.get(hash, caller);
  let isKept = stored !== undefined;
  return {
    stored,
    async keep(result) {
      isKept = await cache.put(hash, caller, result);
    },
    mark(c, result, representation) {
      markReply(c, cache, hash, result, representation);
      if (isKept) c.header('content-location', `/v1/images/${hash}`);
      c.header('cache-status', `latent-edge; ${stored ? 'hit' : isKept ? 'fwd=miss; stored' : 'fwd=miss'}`);
    },
  };
}

/** Validator and lifetime of a stored result's reply. */
export function markReply(
  c: Context,
  cache: ResultCache,
  hash: string,
  { result }: StoredResult,
  representation: string,
): string {
  const tag = `"${hash}-${result.effective!.modelHash.slice(0, 16)}-${representation}"`;
  c.header('etag', tag);
  c.header('cache-control', `${cache.shared ? 'public' : 'private'}, max-age=${cache.seconds}`);
  c.header('vary', 'accept, authorization, x-api-key', { append: true });
  return tag;
}
