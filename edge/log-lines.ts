import { inspect } from 'node:util';
import { type Environment, text } from './config.ts';
import type { AccessLog } from './log.ts';

/** How lines of the log are written: for people, or an object each. */
export type LogFormat = 'text' | 'json';

/** @throws Error for any other. */
export function logFormat(env: Environment): LogFormat {
  const format = text(env, 'LATENT_EDGE_LOG') ?? 'text';
  if (format === 'text' || format === 'json') return format;
  throw new Error(`expected text or json for LATENT_EDGE_LOG but received ${JSON.stringify(format)}`);
}

/** Writes a line for each request, but for those that look whether the edge is well. */
export function accessLogger(format: LogFormat, write: (line: string) => void): AccessLog {
  return ({ requestId, method, path, status, ms, error }) => {
    if (path === '/healthz') return;
    const time = new Date().toISOString();
    const stack = error === undefined ? undefined : inspect(error);
    if (format === 'json') {
      const level = status >= 500 ? 'error' : status >= 400 ? 'warn' : 'info';
      const entry = { time, level, method, path, status, ms: Math.round(ms), request_id: requestId };
      return write(JSON.stringify({ ...entry, ...(stack !== undefined && { stack }) }));
    }
    write(`${time} ${method} ${path} ${status} ${ms.toFixed(0)} ms ${requestId}`);
    if (stack !== undefined) write(stack);
  };
}
