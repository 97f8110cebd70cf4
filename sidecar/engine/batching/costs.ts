/** Runs after which a time that was not measured again is forgotten, so that a size once slow gets another chance. */
const FORGOTTEN_AFTER = 64;

/** Of so many measurements the middle one counts, once there are so many: a run that others held up changes nothing. */
const RECENT = 5;
export const LEAST = 3;

type Point = [size: number, ms: number | undefined];

interface Measured {
  /** Oldest first. */
  recent: readonly number[];
  /** The middle one; of two the smaller. */
  ms: number;
  /** The run that it was last measured in. */
  at: number;
}

/** What a plan's runs cost, by the number of rows in a batch. */
export class Costs {
  readonly #known = new Map<number, Measured>();
  #runs = 0;

  /** @param isCold of a program just compiled: not counted. */
  add(size: number, ms: number, isCold = false): void {
    this.#runs++;
    if (isCold) return;
    const before = this.#current(size)?.recent ?? [];
    this.#put(size, [...before.filter(Number.isFinite), ms].slice(-RECENT));
  }

  /** For a batch for which there was no memory. */
  fail(size: number): void {
    this.#put(size, [Number.POSITIVE_INFINITY]);
  }

  hasFailed(size: number): boolean {
    return this.ms(size) === Number.POSITIVE_INFINITY;
  }

  /** Milliseconds as measured; infinite where there was no memory; undefined where that is not known yet. */
  ms(size: number): number | undefined {
    const known = this.#current(size);
    return known && (known.recent.length >= LEAST || known.ms === Number.POSITIVE_INFINITY)
      ? known.ms
      : undefined;
  }

  /**
   * As measured, or along a straight line through what was measured, but never more per row than the largest smaller
   * batch took; undefined where nothing was measured.
   */
  estimate(size: number): number | undefined {
    const own = this.ms(size);
    if (own !== undefined) return own;
    const known = [...this.#known.keys()]
      .sort((a, b) => a - b)
      .map((at): Point => [at, this.ms(at)])
      .filter((point): point is [number, number] => Number.isFinite(point[1]));
    if (known.length === 0) return undefined;
    const above = known.findIndex(([at]) => at > size);
    // Below all of them, and of one alone: in proportion.
    if (above === 0 || known.length === 1) return (known[0]![1] * size) / known[0]![0];
    const [[n, a], [m, b]] = known.slice(above < 0 ? -2 : above - 1).slice(0, 2) as [
      [number, number],
      [number, number],
    ];
    const [at, ms] = above < 0 ? [m, b] : [n, a];
    const slope = Math.min(ms / at, Math.max(0, (b - a) / (m - n)));
    return ms + slope * (size - at);
  }

  #current(size: number): Measured | undefined {
    const known = this.#known.get(size);
    return known && this.#runs - known.at < FORGOTTEN_AFTER ? known : undefined;
  }

  #put(size: number, recent: readonly number[]): void {
    const ms = recent.toSorted((a, b) => a - b)[(recent.length - 1) >> 1]!;
    this.#known.set(size, { recent, ms, at: this.#runs });
  }
}
