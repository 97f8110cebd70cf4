import { errors } from '../../errors.ts';
import { checkMemory } from '../admission/memory.ts';
import type { Occupancy } from '../batching/occupancy.ts';
import type { NamedFolder } from '../model-folders.ts';
import type { Opened } from './open.ts';
import { type Demand, type Place, Worker, type WorkerLimits } from './worker.ts';

/** A device has failed for good, and why; so many others are left. */
export type OnLost = (worker: Worker, reason: Error, left: number) => void;

/** The devices of a sidecar: who of them does what. */
export class Workers {
  readonly all: readonly Worker[];
  readonly #concurrency: number;
  readonly #onLost: OnLost;

  constructor(opened: readonly Opened[], limits: WorkerLimits, onLost: OnLost = () => {}) {
    this.all = opened.map((one) => new Worker(one, limits));
    this.#concurrency = limits.concurrency;
    this.#onLost = onLost;
  }

  /** Those that are not lost. */
  get left(): Worker[] {
    return this.all.filter(({ isLost }) => !isLost);
  }

  /** Requests that run at once, on all of them. */
  get places(): number {
    return this.left.length * this.#concurrency;
  }

  /** The device that has a model, or else one that could. */
  knowing(folder: NamedFolder): Worker {
    const { left, all } = this;
    return left.find(({ store }) => store.isLoaded(folder.dir)) ?? left[0] ?? all[0]!;
  }

  isLoaded({ dir }: NamedFolder): boolean {
    return this.left.some(({ store, decoders }) => store.isLoaded(dir) || decoders.isLoaded(dir));
  }

  /** @throws ServiceError out_of_memory for what fits on none of them, device_lost where none is left. */
  checkFits(demand: Demand): void {
    const { left } = this;
    if (left.length === 0) throw errors.deviceLost();
    if (left.some((worker) => worker.fits(demand))) return;
    checkMemory(demand.memory, Math.max(...left.map(({ memoryLimit }) => memoryLimit)));
  }

  /**
   * Takes out a device that has failed for good.
   * @returns whether what failed there can be done on another.
   */
  takeOut(worker: Worker, reason: unknown, demand: Demand): boolean {
    if (!worker.isLost) {
      worker.lose();
      this.#onLost(worker, reason as Error, this.left.length);
    }
    return this.left.some((other) => other.fits(demand));
  }

  /** Milliseconds of a request's work on the fastest of them, having it to itself. */
  workMs({ workload }: Demand): number {
    return Math.min(...this.left.map(({ speed }) => speed.ms(workload)));
  }

  /**
   * A place on the device where a request would soonest be under way. So it goes to one that has its model, until those
   * who wait there would make it wait for longer than loading takes on another.
   * @param blocked devices that others wait for who go first; this one too, where it finds no place.
   * @throws ServiceError device_lost where it fits on none that is left.
   */
  reserve(demand: Demand, blocked: Set<unknown>): Place | undefined {
    const able = this.left.filter((worker) => worker.fits(demand));
    const best = least(able, (worker) => [worker.waitMs(demand), worker.leftMs]);
    if (!best) throw errors.deviceLost();
    const place = blocked.has(best) ? undefined : best.take(demand);
    if (!place) blocked.add(best);
    return place;
  }

  /**
   * A request comes that may go before others, to whichever device.
   * @returns to be called when its own work is about to begin, or it comes no more.
   */
  expect(): () => void {
    const ends = this.left.map(({ evaluator }) => evaluator.expect());
    return () => {
      for (const end of ends) end();
    };
  }

  /** How full batches have been, of all of them. */
  get occupancy(): Occupancy {
    const all = this.all.map(({ evaluator }) => evaluator.occupancy);
    const sum = (of: (one: Occupancy) => number) => all.reduce((total, one) => total + of(one), 0);
    const bySize = new Map<number, number>();
    for (const one of all)
      for (const [size, runs] of one.bySize) bySize.set(size, (bySize.get(size) ?? 0) + runs);
    return {
      ...{ runs: sum(({ runs }) => runs), rows: sum(({ rows }) => rows), bySize },
      batchedRows: sum(({ batchedRows }) => batchedRows),
    };
  }

  get controlNetEvaluations(): number {
    return this.all.reduce((sum, { evaluator }) => sum + evaluator.controlNetEvaluations, 0);
  }

  async dispose(): Promise<void> {
    await Promise.all(this.all.map((worker) => worker.dispose()));
  }
}

/** The one with the least first number; of several, the least second; the first of those. */
function least<T>(all: readonly T[], numbers: (one: T) => [number, number]): T | undefined {
  const ranked = all.map((one) => ({ one, by: numbers(one) }));
  return ranked.sort((a, b) => a.by[0] - b.by[0] || a.by[1] - b.by[1])[0]?.one;
}
