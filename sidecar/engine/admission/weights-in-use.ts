/** Weights that a request needs while it runs; the same name stands for the same weights. */
export interface NeededWeights {
  name: string;
  bytes: number;
}

/**
 * The weights that running requests need, together: what may not be let go for others. A request that needs nothing new
 * can always begin; one that does only where the budget has room beside what is in use, or where nothing is.
 */
export class WeightsInUse {
  readonly #budget: number;
  readonly #users = new Map<string, { bytes: number; count: number }>();

  /** @param budget bytes. */
  constructor(budget: number) {
    this.#budget = budget;
  }

  has(name: string): boolean {
    return this.#users.has(name);
  }

  /** @returns what gives them back; undefined where there is no room. */
  take(needed: readonly NeededWeights[]): (() => void) | undefined {
    const used = [...this.#users.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    const fresh = needed.filter(({ name }) => !this.#users.has(name));
    const more = fresh.reduce((sum, { bytes }) => sum + bytes, 0);
    if (used > 0 && more > 0 && used + more > this.#budget) return undefined;
    for (const { name, bytes } of needed) {
      const user = this.#users.get(name) ?? { bytes, count: 0 };
      user.count++;
      this.#users.set(name, user);
    }
    return () => {
      for (const { name } of needed) if (--this.#users.get(name)!.count === 0) this.#users.delete(name);
    };
  }
}
