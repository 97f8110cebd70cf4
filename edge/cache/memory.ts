import { LRUCache } from 'lru-cache';
import type { CacheOptions, ResultStore, StoredResult } from './results.ts';

/** In this process, the least recently used going first. */
export function memoryStore(bytes: number, seconds: number): ResultStore {
  const kept = new LRUCache<string, StoredResult>({
    maxSize: bytes,
    ttl: 1000 * seconds,
    sizeCalculation: ({ result }) => result.images.reduce((sum, { data }) => sum + data.byteLength, 4096),
  });
  return {
    get: async (key) => kept.get(key),
    // What is larger than all there is room for is not kept.
    put: async (key, stored) => kept.set(key, stored).has(key),
  };
}

/** Undefined where nothing is to be kept. */
export function memoryCache(settings: {
  seconds: number;
  bytes: number;
  shared: boolean;
}): CacheOptions | undefined {
  const { seconds, bytes, shared } = settings;
  return seconds > 0 && bytes > 0 ? { seconds, shared, store: memoryStore(bytes, seconds) } : undefined;
}
