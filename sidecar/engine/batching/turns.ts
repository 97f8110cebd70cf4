import { setImmediate as macrotask } from 'node:timers/promises';
import { FAVOUR_EVERY, FAVOUR_WAITS, inOrder, mostPassedOver } from './order.ts';
import type { Ticket } from './ticket.ts';

/** What waits for its turn on the device. */
export interface Unit {
  readonly ticket: Ticket;
  /** Lets go of it, without a turn. */
  reject(reason: unknown): void;
  /** Why it need not have a turn any more, other than its ticket's signal. */
  readonly failure?: { reason: unknown } | undefined;
  /**
   * Has its turn.
   * @param others that wait, in order.
   * @returns those of them that have theirs together with it, and the end of the turn, which never rejects.
   */
  begin(others: readonly Unit[]): { together: readonly Unit[]; done: Promise<void> };
}

/** A device's time: one turn after the other, each for the first in order, but now and then one as a favour. */
export class Turns {
  #waiting: Unit[] = [];
  #isGoing = false;
  #sinceFavour = FAVOUR_EVERY;
  /** Whether the last turn was one request's and no other waited: it need not wait for anybody. */
  #isOneAlone = true;
  /** Whose the last turn was. */
  #served: ReadonlySet<Ticket> = new Set();

  add(unit: Unit): void {
    this.#waiting.push(unit);
    if (!this.#isGoing) void this.#go();
  }

  async #go(): Promise<void> {
    this.#isGoing = true;
    for (;;) {
      // Those who had the turn that just ended ask for the next one meanwhile.
      await (this.#isOneAlone ? undefined : macrotask());
      this.#letGo();
      const inLine = inOrder(this.#waiting);
      const first = this.#favoured(inLine) ?? inLine[0];
      if (!first) break;
      await this.#give(
        first,
        inLine.filter((unit) => unit !== first),
      );
    }
    this.#isGoing = false;
  }

  #favoured(inLine: readonly Unit[]): Unit | undefined {
    const last = inLine[0]?.ticket;
    const isAmid = last !== undefined && last.stepsLeft <= 1 && this.#served.has(last);
    const from = FAVOUR_EVERY + (isAmid ? FAVOUR_WAITS : 0);
    const favoured = ++this.#sinceFavour < from ? undefined : mostPassedOver(inLine);
    if (favoured) this.#sinceFavour = 0;
    return favoured;
  }

  async #give(first: Unit, others: readonly Unit[]): Promise<void> {
    try {
      const { together, done } = first.begin(others);
      const served = this.#take(new Set([first, ...together]));
      await done;
      this.#isOneAlone = served.size === 1 && this.#waiting.every(({ ticket }) => served.has(ticket));
    } catch (error) {
      // It did not begin.
      this.#take(new Set([first]));
      first.reject(error);
    }
  }

  /** Of what nobody wants any more. */
  #letGo(): void {
    this.#waiting = this.#waiting.filter((unit) => {
      const { signal } = unit.ticket;
      const failure = signal?.aborted ? { reason: signal.reason as unknown } : unit.failure;
      if (failure) unit.reject(failure.reason);
      return !failure;
    });
  }

  /** @returns whose turn it is. */
  #take(taken: ReadonlySet<Unit>): Set<Ticket> {
    this.#waiting = this.#waiting.filter((unit) => !taken.has(unit));
    const served = new Set([...taken].map(({ ticket }) => ticket));
    for (const ticket of new Set(this.#waiting.map(({ ticket }) => ticket)))
      if (!served.has(ticket)) ticket.passedOver++;
    for (const ticket of served) ticket.passedOver = 0;
    this.#served = served;
    return served;
  }
}

/** Work that has the device to itself. */
export class Alone<T> implements Unit {
  readonly ticket: Ticket;
  readonly result: Promise<T>;
  readonly #work: () => Promise<T>;
  #resolve!: (value: T) => void;
  #reject!: (reason: unknown) => void;

  constructor(work: () => Promise<T>, ticket: Ticket) {
    this.ticket = ticket;
    this.#work = work;
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  reject(reason: unknown): void {
    this.#reject(reason);
  }

  begin() {
    return { together: [], done: this.#run() };
  }

  async #run(): Promise<void> {
    try {
      this.#resolve(await this.#work());
    } catch (error) {
      this.#reject(error);
    }
  }
}
