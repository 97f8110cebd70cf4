import type { MiddlewareHandler } from 'hono';

export interface AccessEntry {
  requestId: string;
  method: string;
  path: string;
  status: number;
  /** Until the reply began. */
  ms: number;
  /** What failed on this side, where the status is 500. */
  error?: unknown;
}

export type AccessLog = (entry: AccessEntry) => void;

/** Reports each request to `log`: never its body, never its query. */
export function accessLog(log: AccessLog): MiddlewareHandler {
  return async (c, next) => {
    const began = performance.now();
    await next();
    log({
      requestId: c.get('requestId'),
      method: c.req.method,
      path: c.req.path,
      status: c.res.status,
      ms: performance.now() - began,
      error: c.res.status === 500 ? c.error : undefined,
    });
  };
}
