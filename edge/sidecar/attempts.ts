import type { GenerateEvent } from './client.ts';

/** One way to have a request run: on one sidecar, until the signal fires. */
export type Attempt = (signal: AbortSignal) => AsyncIterable<GenerateEvent>;

export interface AttemptOptions {
  signal?: AbortSignal | undefined;
  /** Milliseconds without a step after which the next is begun beside the first; undefined: never. */
  hedgeMs?: number | undefined;
  /** Whether another may do after an attempt failed so. */
  isWorthAnother: (error: unknown) => boolean;
  /** What is thrown where none of them did, and the last failed so; default: the same. */
  verdict?: ((last: unknown) => unknown) | undefined;
}

interface Running {
  controller: AbortController;
  events: AsyncIterator<GenerateEvent>;
  next: Promise<{ from: Running; result: IteratorResult<GenerateEvent> } | { from: Running; error: unknown }>;
}

/**
 * Makes attempts, one after another as they fail, until one has done a step or has a result: that one is seen through,
 * and any other that has been begun is ended. `Queued` is passed on once.
 * @throws the verdict on what the last attempt threw, or what none would do better after.
 */
export async function* firstToBegin(
  attempts: readonly Attempt[],
  { signal, hedgeMs, isWorthAnother, verdict = (last) => last }: AttemptOptions,
): AsyncGenerator<GenerateEvent> {
  const left = [...attempts];
  const running = new Set<Running>();
  let isQueued = false;
  let hedge = hedgeTimer(hedgeMs);

  const begin = () => {
    const attempt = left.shift()!;
    const controller = new AbortController();
    if (signal?.aborted) controller.abort(signal.reason);
    const events = attempt(controller.signal)[Symbol.asyncIterator]();
    const one = { controller, events } as Running;
    advance(one);
    running.add(one);
  };

  const leave = () => {
    for (const { controller } of running) controller.abort(signal!.reason);
  };
  signal?.addEventListener('abort', leave);
  try {
    begin();
    while (true) {
      const waiting: Promise<Awaited<Running['next']> | 'hedge'>[] = [...running].map(({ next }) => next);
      if (left.length > 0) waiting.push(hedge.fired);
      const came = await Promise.race(waiting);
      if (came === 'hedge') {
        hedge = hedgeTimer(hedgeMs);
        begin();
        continue;
      }
      const { from } = came;
      if ('error' in came) {
        running.delete(from);
        if (!isWorthAnother(came.error)) throw came.error;
        if (running.size > 0) continue;
        if (left.length === 0) throw verdict(came.error);
        begin();
        continue;
      }
      if (came.result.done) {
        running.delete(from);
        return;
      }
      const event = came.result.value;
      advance(from);
      if (event.event === 'queued') {
        if (!isQueued) yield event;
        isQueued = true;
        continue;
      }
      for (const other of running) if (other !== from) end(other);
      running.clear();
      running.add(from);
      yield event;
      while (true) {
        const last = await from.next;
        // Nothing is left of it to end.
        if ('error' in last || last.result.done) running.delete(from);
        if ('error' in last) throw last.error;
        if (last.result.done) return;
        advance(from);
        yield last.result.value;
      }
    }
  } finally {
    signal?.removeEventListener('abort', leave);
    hedge.cancel();
    // Whoever leaves early, and those that were too late.
    for (const one of running) end(one);
  }
}

/** Also one that waits with an event that nobody takes: its own last words are run. */
function end({ controller, events }: Running): void {
  controller.abort();
  void events.return?.().catch(() => {});
}

/** Asks an attempt for its next event. */
function advance(one: Running): void {
  one.next = one.events.next().then(
    (result) => ({ from: one, result }),
    (error) => ({ from: one, error }),
  );
}

function hedgeTimer(ms: number | undefined): { fired: Promise<'hedge'>; cancel: () => void } {
  if (ms === undefined) return { fired: new Promise(() => {}), cancel: () => {} };
  let timer: ReturnType<typeof setTimeout>;
  const fired = new Promise<'hedge'>((resolve) => {
    timer = setTimeout(resolve, ms, 'hedge');
  });
  return { fired, cancel: () => clearTimeout(timer) };
}
