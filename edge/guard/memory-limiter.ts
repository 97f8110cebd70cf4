import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import type { RateLimiter } from './rate.ts';

/** In this process: `perMinute` for each key without a number of its own, for each address where there are no keys. */
export function memoryLimiter(perMinute: number | undefined): RateLimiter {
  // One limiter for each number there is.
  const limiters = new Map<number, RateLimiterMemory>();
  return async (who, own) => {
    const points = own ?? perMinute;
    if (points === undefined) return undefined;
    const limiter = limiters.get(points) ?? new RateLimiterMemory({ points, duration: 60 });
    limiters.set(points, limiter);
    try {
      await limiter.consume(who);
      return undefined;
    } catch (refused) {
      if (refused instanceof RateLimiterRes) return refused.msBeforeNext;
      throw refused;
    }
  };
}
