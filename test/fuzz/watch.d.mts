import type { EventEmitter } from 'node:events';

export function watch(
  child: EventEmitter & { kill(signal: string): unknown },
  folder: string,
  timeoutMs: number,
): Promise<number>;
