import { errors } from '../errors.ts';

export interface QueueLimits {
  /** Requests that run at once. */
  concurrency: number;
  /** Requests that may wait; 0: none. */
  limit: number;
}

export interface Admission {
  /** Leaves the queue, or is handed to the work that has begun. */
  signal?: AbortSignal;
  /** Called once on admission, with the number of requests that run before this one. */
  onQueued?: (position: number) => void;
}

interface Waiting {
  start: () => void;
}

/** First come, first served, and bounded: a request is run, waits, or is refused at once. */
export class RequestQueue {
  readonly #limits: QueueLimits;
  readonly #waiting: Waiting[] = [];
  #running = 0;
  #closed = false;
  #meanMs = 2000;
  #idle: (() => void)[] = [];

  constructor(limits: QueueLimits) {
    this.#limits = limits;
  }

  get running(): number {
    return this.#running;
  }

  get queued(): number {
    return this.#waiting.length;
  }

  get limit(): number {
    return this.#limits.limit;
  }

  /**
   * Runs `work` when its turn comes.
   * @throws ServiceError queue_full, shutting_down, or cancelled when the signal fires while it waits.
   */
  async run<T>(work: () => Promise<T>, { signal, onQueued }: Admission = {}): Promise<T> {
    if (this.#closed) throw errors.shuttingDown();
    signal?.throwIfAborted();
    const mustWait = this.#running >= this.#limits.concurrency;
    if (mustWait && this.#waiting.length >= this.#limits.limit)
      throw errors.queueFull(this.#waiting.length, this.#retryAfterMs());
    const turn = mustWait ? this.#wait(signal) : undefined;
    if (!mustWait) this.#running++;
    onQueued?.(mustWait ? this.#running + this.#waiting.length - 1 : this.#running - 1);
    await turn;

    const began = performance.now();
    try {
      const result = await work();
      // What was refused or cancelled says nothing of how long one takes.
      this.#meanMs += 0.2 * (performance.now() - began - this.#meanMs);
      return result;
    } finally {
      this.#running--;
      this.#next();
    }
  }

  /** Refuses new requests; those that run or wait go on. */
  close(): void {
    this.#closed = true;
  }

  /** When nothing runs or waits. */
  async idle(): Promise<void> {
    if (this.#running + this.#waiting.length === 0) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  // The place of a request that starts is counted before its own code runs on, so that none slips in between.
  #wait(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const entry = { start: () => {} };
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(entry), 1);
        reject(signal?.reason);
        this.#next();
      };
      entry.start = () => {
        signal?.removeEventListener('abort', leave);
        this.#running++;
        resolve();
      };
      signal?.addEventListener('abort', leave, { once: true });
      this.#waiting.push(entry);
    });
  }

  #next(): void {
    while (this.#running < this.#limits.concurrency && this.#waiting.length > 0)
      this.#waiting.shift()!.start();
    if (this.#running + this.#waiting.length === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  // About when half of those that wait now will have been served.
  #retryAfterMs(): number {
    const ms = (this.#meanMs * (this.#waiting.length + 1)) / (2 * this.#limits.concurrency);
    return Math.round(Math.min(60_000, Math.max(500, ms)));
  }
}
