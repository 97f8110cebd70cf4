export interface PoolLimits {
  /** Values kept, at most. */
  count: number;
  /** Sum of their costs, at most. */
  cost: number;
}

export interface Pooled<T> {
  value: T;
  /** In the unit of the limit: bytes. */
  cost: number;
  dispose: () => Promise<void>;
}

/** Lets go of what must go for something of that cost to be made. */
export type Room = (cost: number) => Promise<void>;

interface Entry<T> {
  made: Promise<Pooled<T>>;
  ready?: Pooled<T>;
  users: number;
}

/**
 * Values that are costly to make, kept by key until others need their place: the least recently used go first, one
 * in use never, nor the one used last. So the limits can be passed, by one value or while more are in use at once.
 */
export class Pool<T> {
  readonly #limits: PoolLimits;
  // In order of last use.
  readonly #entries = new Map<string, Entry<T>>();
  /** What was discarded while it was in use. */
  readonly #leaving = new Set<Entry<T>>();

  constructor(limits: PoolLimits) {
    this.#limits = limits;
  }

  /** Runs `work` on the value of `key`, which `make` makes when it is not there; it is not let go meanwhile. */
  async use<R>(
    key: string,
    make: (room: Room) => Promise<Pooled<T>>,
    work: (value: T) => Promise<R>,
  ): Promise<R> {
    const entry = this.#entries.get(key) ?? this.#add(key, make);
    entry.users++;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    try {
      const { value } = await entry.made;
      // Before the work, as most values grow while they are used.
      await this.#trim();
      return await work(value);
    } finally {
      entry.users--;
      await this.#leave(entry);
      await this.#trim();
    }
  }

  has(key: string): boolean {
    return this.#entries.get(key)?.ready !== undefined;
  }

  /** The value of `key`, if it is there; it may be let go at any time. */
  peek(key: string): T | undefined {
    return this.#entries.get(key)?.ready?.value;
  }

  /** Of all values that are there. */
  get cost(): number {
    const all = [...this.#entries.values(), ...this.#leaving];
    return all.reduce((sum, { ready }) => sum + (ready?.cost ?? 0), 0);
  }

  values(): T[] {
    return [...this.#entries.values()].flatMap(({ ready }) => (ready ? [ready.value] : []));
  }

  /** Lets everything go that is not in use, or what of it has such keys. */
  async clear(matches: (key: string) => boolean = () => true): Promise<void> {
    await this.#trim({ count: 0, cost: 0 }, null, matches);
  }

  /** Has the next user of `key` make it anew, where `value` is what is there: that goes with the last of its users. */
  async discard(key: string, value: T): Promise<void> {
    const entry = this.#entries.get(key);
    if (entry?.ready?.value !== value) return;
    this.#entries.delete(key);
    this.#leaving.add(entry);
    await this.#leave(entry);
  }

  #add(key: string, make: (room: Room) => Promise<Pooled<T>>): Entry<T> {
    const { count, cost } = this.#limits;
    // What is being made is the one used last.
    const room: Room = (needed) => this.#trim({ count: count - 1, cost: cost - needed }, key);
    const entry: Entry<T> = { made: make(room), users: 0 };
    entry.made.then(
      (ready) => {
        entry.ready = ready;
      },
      // What failed is made anew the next time; each user gets the error from its own await.
      () => this.#entries.delete(key),
    );
    this.#entries.set(key, entry);
    return entry;
  }

  async #leave(entry: Entry<T>): Promise<void> {
    if (entry.users === 0 && this.#leaving.delete(entry)) await entry.ready!.dispose();
  }

  /** @param kept the key of what stays, whatever it costs; null: nothing does. */
  async #trim(
    limits: PoolLimits = this.#limits,
    kept: string | null | undefined = [...this.#entries.keys()].at(-1),
    matches: (key: string) => boolean = () => true,
  ): Promise<void> {
    const ready = [...this.#entries].filter(([, entry]) => entry.ready);
    let count = ready.length;
    let { cost } = this;
    const gone: Pooled<T>[] = [];
    for (const [key, entry] of ready) {
      if (count <= limits.count && cost <= limits.cost) break;
      if (entry.users > 0 || key === kept || !matches(key)) continue;
      this.#entries.delete(key);
      gone.push(entry.ready!);
      count--;
      cost -= entry.ready!.cost;
    }
    await Promise.all(gone.map(({ dispose }) => dispose()));
  }
}
