import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { LRUCache } from 'lru-cache';
import { RESULT_KEPT_MS } from '../../proto/metadata.ts';
import type { Engine, GenerateOptions, GenerateResult } from '../engine/engine.ts';
import type { ImageRequestInput } from '../engine/request.ts';
import { errors } from '../errors.ts';
import { SharedRun } from './run.ts';

/** A client that tries again waits 8 s at most before it does. */
const LINGER_MS = 10_000;
/** What is kept of runs with a key: for how long, and how many bytes of images in all. */
const KEPT = { ttl: RESULT_KEPT_MS, maxSize: 64 * 2 ** 20 };

export interface SharedOptions extends GenerateOptions {
  /** The caller's name for the request, in its own namespace: with the same, it is not run again. */
  idempotencyKey?: string | undefined;
  /** The request's bytes on the wire. */
  bytes: () => Uint8Array;
}

interface Kept {
  fingerprint: string;
  result: GenerateResult;
}

/**
 * Runs requests that come twice once: seeded ones that are the same while one of them is under way, and those with an
 * idempotency key also for ten minutes after.
 */
export class SharedRuns {
  readonly #engine: Pick<Engine, 'generate'>;
  readonly #lingerMs: number;
  /** Under way, by fingerprint or idempotency key. */
  readonly #runs = new Map<string, SharedRun>();
  readonly #kept = new LRUCache<string, Kept>({ ...KEPT, sizeCalculation: ({ result }) => sizeOf(result) });

  /** @param stopping ends all runs. */
  constructor(
    engine: Pick<Engine, 'generate'>,
    { stopping, lingerMs = LINGER_MS }: { stopping?: AbortSignal | undefined; lingerMs?: number } = {},
  ) {
    this.#engine = engine;
    this.#lingerMs = lingerMs;
    stopping?.addEventListener('abort', () => {
      for (const run of this.#runs.values()) run.end(stopping.reason);
    });
  }

  /**
   * As Engine.generate.
   * @throws ServiceError idempotency_conflict where the key stands for another request.
   */
  async generate(
    request: ImageRequestInput & { seeds?: unknown[] },
    { idempotencyKey: key, bytes, ...caller }: SharedOptions,
  ): Promise<GenerateResult> {
    // Without seeds, no two requests are the same.
    if (key === undefined && !request.seeds?.length) return this.#engine.generate(request, caller);
    const fingerprint = createHash('sha256').update(bytes()).digest('base64');
    const name = key === undefined ? fingerprint : `key ${key}`;
    const [kept, run] = [this.#kept.get(name), this.#runs.get(name)];
    const known = kept ?? run;
    if (known && known.fingerprint !== fingerprint) throw errors.idempotencyConflict();
    if (kept) return kept.result;
    if (run && !run.isEnded) return run.join(caller);
    const lingerMs = key === undefined ? 0 : this.#lingerMs;
    const { deadline, traceparent } = caller;
    return this.#start(name, fingerprint, request, { lingerMs, deadline, traceparent }).join(caller);
  }

  /** @param first what is the first caller's. */
  #start(
    name: string,
    fingerprint: string,
    request: ImageRequestInput,
    { lingerMs, ...first }: { lingerMs: number } & Pick<GenerateOptions, 'deadline' | 'traceparent'>,
  ): SharedRun {
    const generate = (options: GenerateOptions) => {
      // One listener for each caller.
      setMaxListeners(0, options.signal!);
      return this.#engine.generate(request, { ...options, ...first });
    };
    const run = new SharedRun(fingerprint, generate, lingerMs);
    this.#runs.set(name, run);
    run.result
      .then((result) => lingerMs > 0 && this.#kept.set(name, { fingerprint, result }))
      .catch(() => {})
      .finally(() => this.#runs.get(name) === run && this.#runs.delete(name));
    return run;
  }
}

const sizeOf = ({ images }: GenerateResult) => images.reduce((sum, { file }) => sum + file.length, 1);
