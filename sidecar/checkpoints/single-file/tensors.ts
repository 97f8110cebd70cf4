import type { WeightSource } from '../../native.ts';
import { CheckpointError } from '../error.ts';
import type { TensorEntry } from '../header.ts';

/** The tensors of a file whose keys begin alike, by the rest of their keys. */
export class Tensors {
  readonly file: string;
  readonly prefix: string;
  readonly #entries: ReadonlyMap<string, TensorEntry>;

  constructor(file: string, entries: ReadonlyMap<string, TensorEntry>, prefix = '') {
    this.file = file;
    this.prefix = prefix;
    this.#entries = entries;
  }

  get size(): number {
    return this.#entries.size;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  keys(): string[] {
    return [...this.#entries.keys()];
  }

  /** Those below `prefix`, without it. */
  under(prefix: string): Tensors {
    const below = [...this.#entries].filter(([key]) => key.startsWith(prefix));
    const entries = below.map(([key, entry]): [string, TensorEntry] => [key.slice(prefix.length), entry]);
    return new Tensors(this.file, new Map(entries), this.prefix + prefix);
  }

  /** Those whose keys match. */
  where(pattern: RegExp): Tensors {
    const entries = [...this.#entries].filter(([key]) => pattern.test(key));
    return new Tensors(this.file, new Map(entries), this.prefix);
  }

  get(key: string): TensorEntry | undefined {
    return this.#entries.get(key);
  }

  /** @throws CheckpointError when there is no such tensor, or it has another number of dimensions. */
  shape(key: string, dimensions: number): number[] {
    const entry = this.#entries.get(key);
    if (!entry)
      throw new CheckpointError(`Expected the tensor ${this.prefix}${key} but found none, in ${this.file}`, {
        file: this.file,
      });
    if (entry.shape.length !== dimensions)
      throw new CheckpointError(
        `Expected ${dimensions} dimensions for ${entry.name} but received [${entry.shape.join(', ')}], in ${this.file}`,
        { file: this.file },
      );
    return entry.shape;
  }

  /** The first key that matches. */
  find(pattern: RegExp): string | undefined {
    for (const key of this.#entries.keys()) if (pattern.test(key)) return key;
    return undefined;
  }

  /** One more than the largest number, up to 999, that follows `at.` in a key. */
  count(at: string): number {
    const rest = at.length + 1;
    const numbers = this.keys().map((key) =>
      key.startsWith(`${at}.`) ? Number(/^\d{1,3}(?=\.)/.exec(key.slice(rest))?.[0] ?? -1) : -1,
    );
    return numbers.reduce((a, b) => Math.max(a, b), -1) + 1;
  }
}

/**
 * A tensor as a weight of that name.
 * @throws CheckpointError for integers and 8-bit floats.
 */
export function weight(
  { name: key, dtype, shape, offset }: TensorEntry,
  file: string,
  name: string,
): Extract<WeightSource, { file: string }> {
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16')
    throw new CheckpointError(`Expected F32, F16 or BF16 for ${key} but received ${dtype}, in ${file}`, {
      file,
    });
  return { name, dtype, shape, file, offset };
}
