import { CheckpointError } from '../checkpoints/error.ts';
import { modelStamp } from './model-stamp.ts';
import { Pool, type Pooled, type PoolLimits, type Room } from './pool.ts';

interface OfFiles<T> {
  value: T;
  /** Of the files as it was made; undefined: not known. */
  stamp: string | undefined;
}

/**
 * A pool of what is read from files, by their path. What fails for its files is made anew for the next user, where they are
 * others by now, whoever still uses it.
 */
export class FilePool<T> {
  readonly #pool: Pool<OfFiles<T>>;

  constructor(limits: PoolLimits) {
    this.#pool = new Pool(limits);
  }

  /** As Pool.use. */
  async use<R>(
    path: string,
    make: (room: Room) => Promise<Pooled<T>>,
    work: (value: T) => Promise<R>,
  ): Promise<R> {
    const makeOf = async (room: Room) => {
      const stamp = await modelStamp(path);
      const made = await make(room);
      return { ...made, value: { value: made.value, stamp } };
    };
    let used: OfFiles<T> | undefined;
    try {
      return await this.#pool.use(path, makeOf, (of) => {
        used = of;
        return work(of.value);
      });
    } catch (error) {
      if (used && error instanceof CheckpointError) await this.#letGo(path, used);
      throw error;
    }
  }

  has(path: string): boolean {
    return this.#pool.has(path);
  }

  /** The value of `path`, if it is there; it may be let go at any time. */
  peek(path: string): T | undefined {
    return this.#pool.peek(path)?.value;
  }

  /** Of all values that are there. */
  get cost(): number {
    return this.#pool.cost;
  }

  /** Lets everything go that is not in use. */
  async clear(): Promise<void> {
    await this.#pool.clear();
  }

  async #letGo(path: string, used: OfFiles<T>): Promise<void> {
    const now = await modelStamp(path);
    if (now === undefined || now !== used.stamp) await this.#pool.discard(path, used);
  }
}
