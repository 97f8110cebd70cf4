import type { GenerateOptions, GenerateResult } from '../engine/engine.ts';
import { toServiceError } from '../errors.ts';

/** A run that several callers wait for. It ends when the last of them has left. */
export class SharedRun {
  /** Of its request. */
  readonly fingerprint: string;
  readonly result: Promise<GenerateResult>;
  readonly #callers = new Set<GenerateOptions>();
  readonly #controller = new AbortController();
  readonly #lingerMs: number;
  #leaving: NodeJS.Timeout | undefined;
  #queued: number | undefined;

  /** @param lingerMs milliseconds that it goes on after the last caller has gone away, as that one may come back. */
  constructor(
    fingerprint: string,
    generate: (options: GenerateOptions) => Promise<GenerateResult>,
    lingerMs: number,
  ) {
    this.fingerprint = fingerprint;
    this.#lingerMs = lingerMs;
    const options: GenerateOptions = {
      signal: this.#controller.signal,
      onQueued: (position) => {
        this.#queued = position;
        for (const caller of this.#callers) caller.onQueued?.(position);
      },
      onProgress: (progress) => {
        for (const caller of this.#callers) caller.onProgress?.(progress);
      },
      onStage: (stage) => {
        for (const caller of this.#callers) caller.onStage?.(stage);
      },
    };
    // Begins when the first caller has joined.
    this.result = Promise.resolve().then(() => generate(options));
  }

  /** Whether it is of no use to new callers. */
  get isEnded(): boolean {
    return this.#controller.signal.aborted;
  }

  /** Waits for the result, with what is left of the progress. Rejects when the caller leaves. */
  async join(caller: GenerateOptions): Promise<GenerateResult> {
    const { signal } = caller;
    signal?.throwIfAborted();
    clearTimeout(this.#leaving);
    this.#callers.add(caller);
    if (this.#queued !== undefined) caller.onQueued?.(this.#queued);
    let leave = () => {};
    const left = new Promise<never>((_, reject) => {
      leave = () => {
        this.#leave(caller, signal!.reason);
        reject(signal!.reason);
      };
    });
    signal?.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([this.result, left]);
    } finally {
      this.#callers.delete(caller);
      signal?.removeEventListener('abort', leave);
    }
  }

  end(reason: unknown): void {
    clearTimeout(this.#leaving);
    this.#controller.abort(reason);
  }

  #leave(caller: GenerateOptions, reason: unknown): void {
    this.#callers.delete(caller);
    if (this.#callers.size > 0) return;
    const mayReturn = this.#lingerMs > 0 && toServiceError(reason).code === 'cancelled';
    if (mayReturn) this.#leaving = setTimeout(() => this.end(reason), this.#lingerMs);
    else this.end(reason);
  }
}
