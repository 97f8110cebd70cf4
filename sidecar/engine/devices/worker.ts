import type { WeightStorage } from '../../checkpoints/weights.ts';
import { loadingOf } from '../admission/loading.ts';
import type { MemoryNeed } from '../admission/memory.ts';
import { Speed } from '../admission/speed.ts';
import { type NeededWeights, WeightsInUse } from '../admission/weights-in-use.ts';
import type { Workload } from '../admission/workload.ts';
import { Ticket, type TicketOptions } from '../batching/ticket.ts';
import { DecoderStore } from '../decoders/store.ts';
import { Evaluator } from '../evaluator.ts';
import { ModelStore } from '../store.ts';
import type { Opened } from './open.ts';

/** What a request asks of a device. */
export interface Demand extends TicketOptions {
  weights: readonly NeededWeights[];
  memory: MemoryNeed;
  workload: Workload;
  /** The one device to use; none: any. */
  only?: Worker | undefined;
}

export interface WorkerLimits {
  /** Requests that run at once. */
  concurrency: number;
  /** Bytes that the weights of loaded models may take together. Default: half of its memory. */
  memoryBudget?: number | undefined;
  /** Bytes that weights and one program may take together. Default: its memory. */
  memoryLimit?: number | undefined;
  /** How matrices are kept in memory. Default: `file`. */
  weights?: WeightStorage | undefined;
}

/** A device with what is on it: models, what runs, and whose turn it is. */
export class Worker {
  readonly id: string;
  readonly store: ModelStore;
  readonly decoders: DecoderStore;
  readonly evaluator: Evaluator;
  readonly speed: Speed;
  /** Bytes that weights and one program may take together. */
  readonly memoryLimit: number;
  /** How matrices are kept in memory. */
  readonly weights: WeightStorage;
  readonly #opened: Opened;
  readonly #concurrency: number;
  readonly #budget: number;
  readonly #weights: WeightsInUse;
  readonly #places = new Set<Place>();
  #isLost = false;

  constructor(opened: Opened, limits: WorkerLimits) {
    const { device, id, memoryBytes } = opened;
    this.id = id;
    this.#opened = opened;
    this.#concurrency = limits.concurrency;
    this.#budget = limits.memoryBudget ?? memoryBytes / 2;
    this.memoryLimit = Math.min(limits.memoryLimit ?? memoryBytes, memoryBytes);
    this.#weights = new WeightsInUse(this.#budget);
    this.weights = limits.weights ?? 'file';
    this.store = new ModelStore(device, this.#budget, { weights: this.weights });
    this.decoders = new DecoderStore(device);
    this.speed = new Speed(device.info);
    this.evaluator = new Evaluator({
      hasRoom: (bytes) => this.#bytesInUse() + bytes <= this.memoryLimit,
      onRun: (key, rows, ms) => this.speed.add(key, rows, ms),
    });
  }

  get dtype() {
    return this.#opened.device.info.dtype;
  }

  /** Takes a place for a request, if there is one and its weights fit beside those that are in use. */
  take(demand: Demand): Place | undefined {
    if (this.#isLost || this.#places.size >= this.#concurrency) return undefined;
    const giveBack = this.#weights.take(demand.weights);
    if (!giveBack) return undefined;
    const place = new Place(this, demand, () => {
      this.#places.delete(place);
      giveBack();
      this.#freeIfLost();
    });
    this.#places.add(place);
    return place;
  }

  /** Whether its device has failed for good: nothing runs on it any more. */
  get isLost(): boolean {
    return this.#isLost;
  }

  lose(): void {
    this.#isLost = true;
    this.#freeIfLost();
  }

  fits({ memory: { weights, program }, only = this }: Demand): boolean {
    return !this.#isLost && only === this && weights + program.bytes <= this.memoryLimit;
  }

  /** Milliseconds until a request's work would be under way here, about: those who go before it, then loading. */
  waitMs(demand: Demand): number {
    const own = this.speed.ms(demand.workload);
    const isBefore = ({ priority, leftMs }: Place) =>
      leftMs <= own && (priority === 'interactive' || demand.priority === 'bulk');
    const before = [...this.#places].filter(isBefore);
    return before.reduce((sum, { leftMs }) => sum + leftMs, 0) + this.#loadMs(demand);
  }

  /** Milliseconds of work that it has. */
  get leftMs(): number {
    return [...this.#places].reduce((sum, { leftMs }) => sum + leftMs, 0);
  }

  info() {
    const { device, memoryBytes } = this.#opened;
    const { name, arch, threads } = device.info;
    const { weights, arenas, tensors, scratch } = device.memory();
    return {
      ...{ id: this.id, name, arch, threads, memoryTotal: memoryBytes },
      ...{ weightsBytes: weights, arenaBytes: arenas + tensors + scratch, lost: this.#isLost },
    };
  }

  /** Bytes of its memory, by what they are used for. */
  memory() {
    return { device: this.id, ...this.#opened.device.memory() };
  }

  /** Lets go of models and decoders that no request needs now. */
  freeIdle(): void {
    // Memory that cannot be freed is no error of the request's.
    Promise.all([this.store.dispose(), this.decoders.dispose()]).catch(() => {});
  }

  /** Frees everything, once nothing runs. */
  async dispose(): Promise<void> {
    await this.decoders.dispose();
    await this.store.dispose();
    await this.#opened.device.dispose();
  }

  /** When the last of those that ran on it have left. */
  #freeIfLost(): void {
    if (this.#isLost && this.#places.size === 0) this.dispose().catch(() => {});
  }

  /** Of the weights that are not here, and of others that would have to be loaded again. */
  #loadMs({ weights }: Demand): number {
    const isHere = (name: string) => this.#weights.has(name) || this.store.isLoaded(name);
    const missing = weights.reduce((sum, { name, bytes }) => sum + (isHere(name) ? 0 : bytes), 0);
    const evicted = missing > 0 ? Math.max(0, this.store.bytes + missing - this.#budget) : 0;
    return loadingOf(this.#opened.device).ms(missing + Math.min(evicted, this.store.bytes));
  }

  #bytesInUse(): number {
    const { weights, arenas, tensors, scratch } = this.#opened.device.memory();
    return weights + arenas + tensors + scratch;
  }
}

/** A request's place on a device, for as long as it runs there. */
export class Place {
  readonly worker: Worker;
  readonly ticket: Ticket;
  /** To be called once. */
  readonly leave: () => void;
  readonly #workload: Workload;

  constructor(worker: Worker, demand: Demand, leave: () => void) {
    this.worker = worker;
    this.ticket = new Ticket(demand);
    const { workload } = demand;
    this.ticket.stepsLeft = workload.steps;
    // By estimate, until one has been made.
    if (workload.steps > 0) this.ticket.stepMs = worker.speed.stepsMs(workload) / workload.steps;
    this.#workload = workload;
    this.leave = leave;
  }

  get priority() {
    return this.ticket.priority;
  }

  /** Milliseconds of work to go, about. */
  get leftMs(): number {
    const { speed } = this.worker;
    const share = this.#workload.steps > 0 ? this.ticket.stepsLeft / this.#workload.steps : 0;
    return share * speed.stepsMs(this.#workload) + speed.otherMs(this.#workload);
  }
}
