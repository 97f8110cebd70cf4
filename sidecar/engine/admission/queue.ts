import { errors } from '../../errors.ts';
import { PATIENCE } from '../batching/order.ts';
import type { Priority } from '../batching/ticket.ts';
import { checkDeadline } from './deadline.ts';
import { hostMemory } from './host-memory.ts';

export interface QueueLimits {
  /** Devices, and requests that run on them at once; asked each time, as devices can be lost. */
  devices: () => number;
  places: () => number;
  /** Requests that may wait; 0: none. */
  limit: number;
  /** Bytes of pictures and tensors that they may hold together; default: SHARE of the machine's memory. */
  bytes?: number;
  /** Told how long each has waited when it begins, or why it never did; begun again elsewhere, it is not told of anew. */
  onWaited?: ((ms: number, refusal?: unknown) => void) | undefined;
}

/** Of the machine's memory, for what requests hold while they wait: most of it is for models. */
const SHARE = 1 / 8;

/** What a request runs on. */
export interface Seat {
  /** Milliseconds of work to go, about. */
  readonly leftMs: number;
  /** Gives back what it took. */
  leave(): void;
}

export interface Admission<S extends Seat> {
  /** Interactive requests, the default, go before bulk ones. */
  priority?: Priority | undefined;
  /** Milliseconds of a device's time that it takes, about. */
  workMs: number;
  /** When the caller stops waiting, milliseconds since 1970. */
  deadline?: number | undefined;
  /** That it holds while it waits: pictures and tensors. Default: none. */
  bytes?: number | undefined;
  /**
   * Takes what it needs beside what runs, if it is there; asked each time it could begin.
   * @param blocked what requests before it wait for, which it may not take: where it finds none, it adds what it waits for.
   * @throws why there is nothing left that it could wait for: then it is refused.
   */
  reserve: (blocked: Set<unknown>) => S | undefined;
  /**
   * Told of work that failed.
   * @returns whether it is to be done once more, from its beginning: then it is first in line.
   */
  onFailure?: ((error: unknown, seat: S) => boolean) | undefined;
  /** Whether it is the server's own, that no caller waits for: of its wait nobody is told. */
  isOwn?: boolean | undefined;
  /** Leaves the queue, or is handed to the work that has begun. */
  signal?: AbortSignal | undefined;
  /** Called once on admission, with the number of requests that run before this one. */
  onQueued?: ((position: number) => void) | undefined;
}

/** A request in the queue. */
interface Entry<S extends Seat> {
  admission: Admission<S>;
  priority: Priority;
  /** Once it has begun. */
  seat?: S | undefined;
  onBegin: () => void;
  /** Lets go of it, while it waits. */
  onRefuse: (reason: unknown) => void;
  /** Requests that came later and began before it. */
  overtaken: number;
}

/** Of the places, those that bulk requests may take together: some are left for who comes and cannot wait. */
const BULK_SHARE = 0.75;

/** Of a retry hint, in milliseconds. */
const HINT = { least: 500, most: 60_000 };

/**
 * Bounded: a request is run, waits, or is refused at once. First come, first served, but interactive ones go before bulk
 * ones, and those that are pressed for time before others of their kind, by their deadlines; until one has been overtaken
 * as often as it bears. One that waits for a device lets those behind it
 * begin on others alone.
 */
export class RequestQueue<S extends Seat> {
  readonly #limits: QueueLimits;
  readonly #waiting: Entry<S>[] = [];
  readonly #running = new Set<Entry<S>>();
  /** Why no more requests are taken. */
  #closed: Error | undefined;
  #idle: (() => void)[] = [];

  constructor(limits: QueueLimits) {
    this.#limits = limits;
  }

  get running(): number {
    return this.#running.size;
  }

  get queued(): number {
    return this.#waiting.length;
  }

  get limit(): number {
    return this.#limits.limit;
  }

  /**
   * Runs `work` when its turn comes.
   * @throws ServiceError queue_full, shutting_down, deadline_exceeded where it cannot be met, or cancelled when the
   * signal fires while it waits.
   */
  async run<T>(work: (seat: S) => Promise<T>, admission: Admission<S>): Promise<T> {
    const onWaited = admission.isOwn ? undefined : this.#limits.onWaited;
    const came = performance.now();
    let entry: Entry<S>;
    try {
      entry = this.#enter(admission);
      if (!entry.seat) await this.#begin(entry);
    } catch (reason) {
      onWaited?.(performance.now() - came, reason);
      throw reason;
    }
    onWaited?.(performance.now() - came);
    return this.#work(entry, work);
  }

  #enter(admission: Admission<S>): Entry<S> {
    const { signal, workMs, deadline, onQueued } = admission;
    if (this.#closed) throw this.#closed;
    signal?.throwIfAborted();
    checkDeadline(deadline, workMs);
    const { priority = 'interactive' } = admission;
    const nothing = () => {};
    const entry: Entry<S> = { admission, priority, onBegin: nothing, onRefuse: nothing, overtaken: 0 };
    this.#waiting.push(entry);
    this.#next();
    if (!entry.seat) this.#checkWait(entry);
    onQueued?.(entry.seat ? this.running - 1 : this.running + this.queued - 1);
    return entry;
  }

  /** Refuses new requests; those that run or wait go on. */
  close(reason: Error = errors.shuttingDown()): void {
    this.#closed = reason;
  }

  /** Refuses new requests and those that wait. */
  fail(reason: Error): void {
    this.close(reason);
    for (const entry of this.#waiting.splice(0)) entry.onRefuse(reason);
    this.#next();
  }

  /** When nothing runs or waits. */
  async idle(): Promise<void> {
    if (this.running + this.queued === 0) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async #work<T>(entry: Entry<S>, work: (seat: S) => Promise<T>): Promise<T> {
    for (;;) {
      if (!entry.seat) await this.#begin(entry);
      const seat = entry.seat!;
      try {
        return await work(seat);
      } catch (error) {
        if (!entry.admission.onFailure?.(error, seat)) throw error;
        entry.seat = undefined;
        entry.overtaken = Number.POSITIVE_INFINITY;
        this.#waiting.unshift(entry);
      } finally {
        seat.leave();
        this.#running.delete(entry);
        this.#next();
      }
    }
  }

  /** Refuses what has come to wait and may not, or need not. */
  #checkWait(entry: Entry<S>): void {
    const { deadline, workMs } = entry.admission;
    try {
      const others = this.#waiting.filter((one) => one !== entry);
      if (this.queued > this.#limits.limit) throw errors.queueFull(others.length, this.#retryAfterMs(others));
      const { bytes: most = SHARE * hostMemory() } = this.#limits;
      const bytes = this.#waiting.reduce((sum, { admission }) => sum + (admission.bytes ?? 0), 0);
      if (bytes > most)
        throw errors.queueHoldsTooMuch(entry.admission.bytes ?? 0, bytes, most, this.#retryAfterMs(others));
      const before = this.#inOrder();
      const ahead = before.slice(0, before.indexOf(entry));
      checkDeadline(deadline, workMs, this.#soonestMs(ahead.length + 1, ahead));
    } catch (error) {
      this.#waiting.splice(this.#waiting.indexOf(entry), 1);
      throw error;
    }
  }

  /** Until a waiting request begins. */
  #begin(entry: Entry<S>): Promise<void> {
    const { signal } = entry.admission;
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(entry), 1);
        reject(signal?.reason);
        this.#next();
      };
      entry.onBegin = () => {
        signal?.removeEventListener('abort', leave);
        resolve();
      };
      entry.onRefuse = (reason) => {
        signal?.removeEventListener('abort', leave);
        reject(reason);
      };
      signal?.addEventListener('abort', leave, { once: true });
      if (signal?.aborted) leave();
    });
  }

  #next(): void {
    while (this.#beginOne());
    if (this.running + this.queued === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  // It counts as running before its own code goes on, so that none slips in between.
  #beginOne(): boolean {
    const blocked = new Set<unknown>();
    for (const entry of this.#inOrder()) {
      if (blocked.size >= this.#limits.devices()) break;
      if (!this.#hasPlace(entry.priority)) continue;
      const at = this.#waiting.indexOf(entry);
      try {
        entry.seat = entry.admission.reserve(blocked);
      } catch (reason) {
        this.#waiting.splice(at, 1);
        entry.onRefuse(reason);
        return true;
      }
      if (!entry.seat) continue;
      for (const passed of this.#waiting.slice(0, at)) passed.overtaken++;
      this.#waiting.splice(at, 1);
      this.#running.add(entry);
      entry.onBegin();
      return true;
    }
    return false;
  }

  /** Those that wait, first who goes first. */
  #inOrder(): Entry<S>[] {
    const now = Date.now();
    const devices = Math.max(1, this.#limits.devices());
    const rank = ({ priority, overtaken }: Entry<S>) =>
      overtaken >= PATIENCE[priority] ? 0 : priority === 'interactive' ? 1 : 2;
    const ranked = this.#waiting.map((entry) => ({ entry, rank: rank(entry), late: Number.MAX_VALUE }));
    ranked.sort((a, b) => a.rank - b.rank);
    let aheadMs = [...this.#running].reduce((sum, { seat }) => sum + seat!.leftMs, 0) / devices;
    for (const one of ranked) {
      const { deadline, workMs } = one.entry.admission;
      // In its turn it would be late, if all took twice as long as estimated.
      if (one.rank > 0 && deadline !== undefined && now + 2 * (aheadMs + workMs) > deadline)
        one.late = deadline;
      aheadMs += workMs / devices;
    }
    return ranked.sort((a, b) => a.rank - b.rank || a.late - b.late).map(({ entry }) => entry);
  }

  #hasPlace(priority: Priority): boolean {
    const places = this.#limits.places();
    const bulk = [...this.#running].filter((entry) => entry.priority === 'bulk').length;
    const isRoomForBulk = bulk < Math.max(1, Math.floor(BULK_SHARE * places));
    return this.running < places && (priority === 'interactive' || isRoomForBulk);
  }

  /** About when half of those that wait now will have begun. */
  #retryAfterMs(waiting: readonly Entry<S>[]): number {
    const ms = this.#soonestMs(Math.max(1, Math.ceil(waiting.length / 2)), waiting);
    return Math.round(Math.min(HINT.most, Math.max(HINT.least, ms)));
  }

  /** Milliseconds until so many have ended, of those that run and some that wait: those with the least to do go first. */
  #soonestMs(count: number, waiting: readonly Entry<S>[]): number {
    const left = [
      ...[...this.#running].map(({ seat }) => seat!.leftMs),
      ...waiting.map(({ admission }) => admission.workMs),
    ].sort((a, b) => a - b);
    return left.slice(0, count).reduce((sum, ms) => sum + ms, 0) / Math.max(1, this.#limits.devices());
  }
}
