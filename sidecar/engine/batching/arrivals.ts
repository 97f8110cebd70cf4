/** At most one turn of so many is kept short for those who come, so that a stream of them does not make all batches small. */
export const SHORT_EVERY = 4;

/**
 * Requests that have come, and for which nothing is done on a device yet: they are read and planned, wait in the queue,
 * or for their models. Mostly they will want a turn before the one that begins now has ended.
 */
export class Arrivals {
  readonly #coming = new Set<object>();
  #sinceShort = SHORT_EVERY;

  /** @returns to be called when its own work is about to begin, or it comes no more. */
  add(): () => void {
    const one = {};
    this.#coming.add(one);
    return () => this.#coming.delete(one);
  }

  /** Whether the turn that begins now is to be short. Whoever comes has that once: then they may still be on their way. */
  isShort(): boolean {
    if (++this.#sinceShort < SHORT_EVERY || this.#coming.size === 0) return false;
    this.#coming.clear();
    this.#sinceShort = 0;
    return true;
  }
}
