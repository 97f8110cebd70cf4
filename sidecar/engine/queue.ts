import { errors } from '../errors.ts';
import { PATIENCE } from './batching/order.ts';
import type { Priority } from './batching/ticket.ts';

export interface QueueLimits {
  /** Requests that run at once. */
  concurrency: number;
  /** Requests that may wait; 0: none. */
  limit: number;
}

export interface Admission {
  /** Interactive requests, the default, go before bulk ones. */
  priority?: Priority | undefined;
  /** Takes what it needs beside what runs, if it is there; asked each time it could begin. Default: it needs nothing. */
  reserve?: (() => boolean) | undefined;
  /** Leaves the queue, or is handed to the work that has begun. */
  signal?: AbortSignal;
  /** Called once on admission, with the number of requests that run before this one. */
  onQueued?: (position: number) => void;
}

interface Waiting {
  priority: Priority;
  reserve: () => boolean;
  start: () => void;
  /** Requests that came later and began before it. */
  overtaken: number;
}

/** Of the places, those that bulk requests may take together: some are left for who comes and cannot wait. */
const BULK_SHARE = 0.75;

/**
 * Bounded: a request is run, waits, or is refused at once. First come, first served, but interactive ones go before bulk
 * ones, until one of these has been overtaken as often as it bears. While the first in line finds no room, none begins.
 */
export class RequestQueue {
  readonly #limits: QueueLimits;
  readonly #waiting: Waiting[] = [];
  #running = 0;
  #bulkRunning = 0;
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
  async run<T>(work: () => Promise<T>, admission: Admission = {}): Promise<T> {
    const { priority = 'interactive', signal, onQueued, reserve = () => true } = admission;
    if (this.#closed) throw errors.shuttingDown();
    signal?.throwIfAborted();
    const mustWait = !this.#hasPlace(priority) || this.#waiting.length > 0 || !reserve();
    if (mustWait && this.#waiting.length >= this.#limits.limit)
      throw errors.queueFull(this.#waiting.length, this.#retryAfterMs());
    const turn = mustWait ? this.#wait(admission) : undefined;
    if (!mustWait) this.#count(priority, 1);
    onQueued?.(mustWait ? this.#running + this.#waiting.length - 1 : this.#running - 1);
    await turn;

    const began = performance.now();
    try {
      const result = await work();
      // What was refused or cancelled says nothing of how long one takes.
      this.#meanMs += 0.2 * (performance.now() - began - this.#meanMs);
      return result;
    } finally {
      this.#count(priority, -1);
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
  #wait({ priority = 'interactive', reserve = () => true, signal }: Admission): Promise<void> {
    return new Promise((resolve, reject) => {
      const entry: Waiting = { priority, reserve, start: () => {}, overtaken: 0 };
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(entry), 1);
        reject(signal?.reason);
        this.#next();
      };
      entry.start = () => {
        signal?.removeEventListener('abort', leave);
        this.#count(priority, 1);
        resolve();
      };
      signal?.addEventListener('abort', leave, { once: true });
      this.#waiting.push(entry);
      this.#next();
    });
  }

  #next(): void {
    for (;;) {
      const first = this.#first();
      if (first < 0 || !this.#waiting[first]!.reserve()) break;
      for (const passed of this.#waiting.slice(0, first)) passed.overtaken++;
      this.#waiting.splice(first, 1)[0]!.start();
    }
    if (this.#running + this.#waiting.length === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Where in the line who begins next is; -1: nobody. */
  #first(): number {
    const isNext = ({ priority, overtaken }: Waiting) =>
      this.#hasPlace(priority) && (priority === 'interactive' || overtaken >= PATIENCE.bulk);
    const first = this.#waiting.findIndex(isNext);
    return first >= 0 ? first : this.#waiting.findIndex(({ priority }) => this.#hasPlace(priority));
  }

  #hasPlace(priority: Priority): boolean {
    const { concurrency } = this.#limits;
    const isRoomForBulk = this.#bulkRunning < Math.max(1, Math.floor(BULK_SHARE * concurrency));
    return this.#running < concurrency && (priority === 'interactive' || isRoomForBulk);
  }

  #count(priority: Priority, by: 1 | -1): void {
    this.#running += by;
    if (priority === 'bulk') this.#bulkRunning += by;
  }

  // About when half of those that wait now will have been served.
  #retryAfterMs(): number {
    const ms = (this.#meanMs * (this.#waiting.length + 1)) / (2 * this.#limits.concurrency);
    return Math.round(Math.min(60_000, Math.max(500, ms)));
  }
}
