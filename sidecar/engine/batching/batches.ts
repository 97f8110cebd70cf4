import { LRUCache } from 'lru-cache';
import { nativeCode } from '../../native.ts';
import type { Denoiser, Kind, Row } from '../denoiser.ts';
import { batchSize, SHORT_STRETCH, STRETCH } from './batch-size.ts';
import { Costs } from './costs.ts';
import { type Occupancy, OccupancyCounter } from './occupancy.ts';
import type { Ticket } from './ticket.ts';
import type { Unit } from './turns.ts';

/** Kinds of plans whose costs are remembered. */
const MAX_KINDS = 256;

/** Rows of one request for the same step; where one fails, the others are of no use. */
export interface Step {
  ticket: Ticket;
  denoiser: Denoiser;
  failure?: { reason: unknown };
}

export interface BatchLimits {
  /** Whether there is memory for so many bytes more. */
  hasRoom: (bytes: number) => boolean;
  /** Rows of one run, at most. */
  maxRows: (kind: Kind) => number;
  /** Whether the turn that begins, which others could share, is to be short, as somebody comes who may go first. */
  isShort: () => boolean;
  /** Receives each measured run: what its rows are measured by, how many, milliseconds. */
  onRun?: ((key: string, rows: number, ms: number) => void) | undefined;
}

/** Puts rows that wait together into batches, whichever requests they are of. */
export class Batches {
  readonly #limits: BatchLimits;
  readonly #costs = new LRUCache<string, Costs>({ max: MAX_KINDS });
  readonly #occupancy = new OccupancyCounter();

  constructor(limits: BatchLimits) {
    this.#limits = limits;
  }

  get occupancy(): Occupancy {
    return this.#occupancy;
  }

  /** A batch for the first in line, of itself and others that wait, in order. */
  choose(first: BatchRow, others: readonly Unit[]): BatchRow[] {
    const { denoiser, kind, step } = first;
    const rows = [first, ...others.filter((other): other is BatchRow => canShare(first, other))];
    const own = rows.filter((row) => row.step === step).length;
    // Asked where others could come along: elsewhere it would be spent for nothing.
    const isShort = rows.length > own && this.#limits.isShort();
    const size = batchSize({
      rows: rows.length,
      own,
      limit: this.#limits.maxRows(kind),
      stretch: isShort ? SHORT_STRETCH : STRETCH,
      costs: this.#costsOf(first),
      isReady: (size) => denoiser.isReady(kind, size),
      fits: (size) => this.#limits.hasRoom(denoiser.kindBytes(kind, size)),
    });
    return rows.slice(0, size);
  }

  /** Evaluates rows of one kind at once. What fails is tried again in halves, so that it fails for its own request alone. */
  async run(rows: readonly BatchRow[]): Promise<void> {
    const [first] = rows;
    if (!first) return;
    const { denoiser, kind } = first;
    const costs = this.#costsOf(first);
    const given = rows.map(({ row }) => row);
    const isCold = !denoiser.isReady(kind, given);
    const began = performance.now();
    try {
      const predictions = await denoiser.predict(kind, given);
      const ms = performance.now() - began;
      costs.add(rows.length, ms, isCold);
      if (!isCold) this.#limits.onRun?.(denoiser.rowsKey(kind), rows.length, ms);
      const tickets = new Set(rows.map(({ ticket }) => ticket));
      this.#occupancy.add(rows.length, tickets.size);
      if (tickets.size > 1) for (const ticket of tickets) ticket.shared(tickets);
      for (const [i, row] of rows.entries()) row.resolve(predictions[i]!);
    } catch (error) {
      const isMemory = nativeCode(error) === 'ERR_OUT_OF_MEMORY';
      if (isMemory) costs.fail(rows.length);
      const steps = new Set(rows.map(({ step }) => step));
      if (rows.length === 1 || (steps.size === 1 && !isMemory)) for (const row of rows) row.reject(error);
      else await this.#runHalves(rows);
    }
  }

  async #runHalves(rows: readonly BatchRow[]): Promise<void> {
    const half = rows.length >> 1;
    for (const part of [rows.slice(0, half), rows.slice(half)]) {
      for (const row of part) if (row.failure) row.reject(row.failure.reason);
      await this.run(part.filter(({ failure }) => !failure));
    }
  }

  #costsOf({ denoiser, kind }: BatchRow): Costs {
    const key = `#${denoiser.id} ${kind.key}`;
    const costs = this.#costs.get(key) ?? new Costs();
    this.#costs.set(key, costs);
    return costs;
  }
}

function canShare(first: BatchRow, other: Unit): boolean {
  return other instanceof BatchRow && other.denoiser === first.denoiser && other.kind.key === first.kind.key;
}

/** A row that waits for its turn. */
export class BatchRow implements Unit {
  readonly step: Step;
  readonly kind: Kind;
  readonly row: Row;
  readonly prediction: Promise<Float32Array>;
  readonly #batches: Batches;
  #resolve!: (prediction: Float32Array) => void;
  #reject!: (reason: unknown) => void;

  constructor(batches: Batches, step: Step, kind: Kind, row: Row) {
    this.#batches = batches;
    this.step = step;
    this.kind = kind;
    this.row = row;
    this.prediction = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  get ticket(): Ticket {
    return this.step.ticket;
  }

  get denoiser(): Denoiser {
    return this.step.denoiser;
  }

  get failure(): Step['failure'] {
    return this.step.failure;
  }

  resolve(prediction: Float32Array): void {
    this.#resolve(prediction);
  }

  reject(reason: unknown): void {
    this.step.failure ??= { reason };
    this.#reject(reason);
  }

  begin(others: readonly Unit[]) {
    const [, ...together] = this.#batches.choose(this, others);
    return { together, done: this.#batches.run([this, ...together]) };
  }
}
