import { stat } from 'node:fs/promises';

/** Paths remembered at most. */
const LIMIT = 10_000;

/** What was found out about files, by path, until they change. */
export class UntilChanged<T> {
  readonly #known = new Map<string, { stamp: string; value: T }>();

  /** @param stamp of all files that the value depends on. */
  async get(path: string, stamp: string, find: () => Promise<T>): Promise<T> {
    const known = this.#known.get(path);
    if (known?.stamp === stamp) return known.value;
    const value = await find();
    if (this.#known.size >= LIMIT) this.#known.clear();
    this.#known.set(path, { stamp, value });
    return value;
  }
}

/** Of a file; undefined where there is none. */
export async function stampOf(file: string): Promise<string | undefined> {
  const info = await stat(file).catch(() => undefined);
  return info?.isFile() ? [info.size, info.mtimeMs, info.ctimeMs, info.ino].join(' ') : undefined;
}
