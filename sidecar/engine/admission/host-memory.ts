import { totalmem } from 'node:os';

/** Bytes of the machine's memory, or of a container's limit, which is 0 or beyond all where there is none. */
export function hostMemory(): number {
  return Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);
}
