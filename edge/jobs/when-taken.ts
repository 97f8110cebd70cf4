import {
  type CallOptions,
  type GenerateEvent,
  type GenerateRequest,
  type SidecarClient,
  SidecarError,
} from '../sidecar/client.ts';

/** Milliseconds between two tries: the least, the most, and where the sidecar names none. */
const [LEAST, MOST, USUAL] = [100, 60_000, 1000];
/** Of that time, what is added at most: whoever was refused at the same moment does not come back at the same moment. */
const SPREAD = 0.5;

export interface WhenTakenOptions extends CallOptions {
  /** Of all tries together. */
  timeoutMs: number;
  /** From 0 to 1; default: Math.random. */
  random?: (() => number) | undefined;
}

/**
 * A request whose caller does not wait for it: a sidecar whose queue is full is asked again, when it says, or up to half
 * as much later.
 * @throws SidecarError the last try's, where no time is left for another.
 */
export async function* whenTaken(
  sidecar: SidecarClient,
  request: GenerateRequest,
  { timeoutMs, random = Math.random, ...options }: WhenTakenOptions,
): AsyncGenerator<GenerateEvent> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    try {
      yield* sidecar.generate(request, { ...options, timeoutMs: end - Date.now() });
      return;
    } catch (error) {
      if (!(error instanceof SidecarError) || error.code !== 'queue_full') throw error;
      const pause = Math.min(MOST, Math.max(LEAST, error.retryAfterMs ?? USUAL));
      const spare = end - Date.now() - pause;
      if (spare <= 0) throw error;
      await passed(pause + random() * Math.min(SPREAD * pause, spare / 2), options.signal);
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
