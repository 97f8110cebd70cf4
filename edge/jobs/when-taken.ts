import {
  type CallOptions,
  type GenerateEvent,
  type GenerateRequest,
  type SidecarClient,
  SidecarError,
} from '../sidecar/client.ts';

/** Milliseconds between two tries: the least, the most, and where the sidecar names none. */
const [LEAST, MOST, USUAL] = [100, 60_000, 1000];

/**
 * A request whose caller does not wait for it: a sidecar whose queue is full is asked again, when it says.
 * @param options `timeoutMs` is for all tries together.
 * @throws SidecarError the last try's, where no time is left for another.
 */
export async function* whenTaken(
  sidecar: SidecarClient,
  request: GenerateRequest,
  { timeoutMs, ...options }: CallOptions & { timeoutMs: number },
): AsyncGenerator<GenerateEvent> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    try {
      yield* sidecar.generate(request, { ...options, timeoutMs: end - Date.now() });
      return;
    } catch (error) {
      if (!(error instanceof SidecarError) || error.code !== 'queue_full') throw error;
      const pause = Math.min(MOST, Math.max(LEAST, error.retryAfterMs ?? USUAL));
      if (Date.now() + pause >= end) throw error;
      await passed(pause, options.signal);
      if (options.signal?.aborted) throw error;
    }
  }
}

/** Resolves after that many milliseconds, or when the signal fires. */
function passed(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
    if (signal?.aborted) done();
  });
}
