import { mutator } from '../support/mutate.ts';

/** Counters of an instrumented program, as Istanbul keeps them: of statements, functions and branches. */
export type Counters = Record<string, number> | number[];

export interface Exploration {
  /** Throws, or rejects, for an input that shows a fault. */
  fuzz: (bytes: Buffer) => unknown;
  counters: readonly Counters[];
  seeds: readonly Uint8Array[];
  /** What the program compares its input with: put into inputs now and then. */
  words: readonly string[];
  /** The same one goes the same way, for a program that does. */
  seed: number;
  /** Asked after each run. */
  isOver: (runs: number) => boolean;
  /** Before each run. */
  onRun: (input: Buffer) => void;
  /** Of an input that has come where none before it did. */
  onNew: (input: Buffer) => void;
}

/** Counts, as far as they are told apart: 1, 2, 3, 4…7, 8…15, 16…31, 32…127, more. */
const bucketOf = (count: number) => (count < 4 ? 1 << (count - 1) : count < 8 ? 8 : manyOf(count));
const manyOf = (count: number) => (count < 16 ? 16 : count < 32 ? 32 : count < 128 ? 64 : 128);

/** Bytes of an input, at most. */
const MAX_BYTES = 4096;

/**
 * Looks for inputs that bring a program where none has before, by changing those that did: AFL's idea
 * (lcamtuf.coredump.cx/afl/technical_details.txt). Ends with the first that shows a fault.
 * @returns runs, inputs kept, and how often a counter came to a new size.
 */
export async function explore(options: Exploration) {
  const { fuzz, seeds, words, seed, isOver, onRun, onNew } = options;
  const coverage = new Coverage(options.counters);
  const mutate = mutator(seed, words);
  const below = randomBelow(seed + 1);
  const corpus: Buffer[] = [];
  let runs = 0;
  const run = async (input: Buffer) => {
    onRun(input);
    coverage.forget();
    const result = fuzz(input);
    if (result instanceof Promise) await result;
    runs++;
    if (!coverage.isNew() && corpus.length > 0) return;
    corpus.push(input);
    onNew(input);
  };
  // What was found last is changed most often.
  const choose = () => corpus[corpus.length - 1 - Math.min(below(corpus.length), below(corpus.length))]!;
  const spliced = () => {
    const [head, tail] = [choose(), choose()];
    return Buffer.concat([head.subarray(0, below(head.length + 1)), tail.subarray(below(tail.length + 1))]);
  };
  for (const one of [Buffer.alloc(0), ...seeds]) await run(Buffer.from(one));
  while (!isOver(runs))
    await run(Buffer.from(mutate(below(8) === 0 ? spliced() : choose()).subarray(0, MAX_BYTES)));
  return { runs, kept: corpus.length, reached: coverage.reached };
}

class Coverage {
  readonly #groups: readonly { counts: Record<string, number>; keys: string[]; seen: Uint8Array }[];
  reached = 0;

  constructor(counters: readonly Counters[]) {
    this.#groups = counters.map((counts) => {
      const keys = Object.keys(counts);
      return { counts: counts as Record<string, number>, keys, seen: new Uint8Array(keys.length) };
    });
  }

  forget(): void {
    for (const { counts, keys } of this.#groups) for (const key of keys) counts[key] = 0;
  }

  /** Whether a counter has come to a size that it never had. */
  isNew(): boolean {
    const before = this.reached;
    for (const { counts, keys, seen } of this.#groups)
      for (const [i, key] of keys.entries()) {
        const count = counts[key]!;
        if (count === 0) continue;
        const bucket = bucketOf(count);
        if ((seen[i]! & bucket) !== 0) continue;
        seen[i]! |= bucket;
        this.reached++;
      }
    return this.reached > before;
  }
}

/** Whole numbers from 0 on, below n; xorshift32 (Marsaglia, 2003). */
function randomBelow(seed: number): (n: number) => number {
  let state = Math.imul(seed, 0x9e3779b1) || 1;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}
