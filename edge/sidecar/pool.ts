import { RESULT_KEPT_MS } from '../../proto/metadata.ts';
import { firstToBegin } from './attempts.ts';
import type { CallOptions, DeviceInfo, GenerateEvent, GenerateRequest, SidecarClient } from './client.ts';
import { isFull, isGone, Refusals } from './refusals.ts';
import { requestDigest, toHex } from './request-digest.ts';

export interface PoolOptions {
  /** Milliseconds without a step after which a request is begun on another sidecar too; undefined: never. */
  hedgeMs?: number | undefined;
  /** How often a request is tried, where that is more often than there are sidecars: a name may stand for several. */
  attempts?: number | undefined;
}

/** Requests that may come again, of which it is known that they did not begin where they belong. */
const MOVED = 1000;

/** Where a request has begun. */
interface Moved {
  place: number;
  running: number;
  /** To where it also goes once it has ended, as its result is kept there. */
  until: number;
}

/**
 * Several sidecars as one: calls go round; one that cannot be reached, is gone before it has done a step, or has no room
 * for a call, is passed over. All of them have to serve the same models.
 */
export function sidecarPool(
  sidecars: readonly SidecarClient[],
  { hedgeMs, attempts = 1 }: PoolOptions = {},
): SidecarClient {
  if (sidecars.length === 1 && attempts === 1) return sidecars[0]!;
  if (sidecars.length === 0) throw new Error('Expected one sidecar at least but received none');
  let turn = 0;
  const inTurn = (place = turn++) => {
    const tries = Math.max(attempts, sidecars.length);
    return Array.from({ length: tries }, (_, i) => (place + i) % sidecars.length);
  };
  const moved = new Map<string, Moved>();

  /** What stands for a request that may come again: then it goes where it went before. */
  async function digestOf(request: GenerateRequest, options: CallOptions): Promise<string | undefined> {
    const { idempotencyKey, isSeeded } = options;
    if (sidecars.length === 1 || !(idempotencyKey || isSeeded)) return undefined;
    return idempotencyKey ?? toHex(await requestDigest(request));
  }

  const belongsTo = (digest: string) => (Number.parseInt(digest.slice(0, 8), 16) || 0) % sidecars.length;

  function placeOf(digest: string): number {
    const known = moved.get(digest);
    const isThere = known && (known.running > 0 || performance.now() < known.until);
    return isThere ? known.place : belongsTo(digest);
  }

  function hasBegun(digest: string, place: number): void {
    const known = moved.get(digest);
    if (known?.place === place) {
      known.running++;
      return;
    }
    moved.delete(digest);
    if (place === belongsTo(digest)) return;
    moved.set(digest, { place, running: 1, until: 0 });
    if (moved.size > MOVED) moved.delete(moved.keys().next().value!);
  }

  function hasEnded(digest: string, place: number, isKept: boolean): void {
    const known = moved.get(digest);
    if (known?.place !== place) return;
    known.running--;
    if (isKept) known.until = performance.now() + RESULT_KEPT_MS;
    else if (known.running === 0 && known.until === 0) moved.delete(digest);
  }

  async function firstOf<T>(call: (sidecar: SidecarClient) => Promise<T>): Promise<T> {
    const refusals = new Refusals<number>();
    let last: unknown;
    for (const place of inTurn()) {
      if (refusals.of(place)) continue;
      try {
        return await call(sidecars[place]!);
      } catch (error) {
        if (!refusals.add(place, error) && !isGone(error)) throw error;
        last = error;
      }
    }
    throw refusals.verdict(last);
  }

  return {
    async *generate(request, options = {}) {
      const refusals = new Refusals<number>();
      const digest = await digestOf(request, options);
      async function* begin(
        place: number,
        isAgain: boolean,
        signal: AbortSignal,
      ): AsyncGenerator<GenerateEvent> {
        const refusal = refusals.of(place);
        if (refusal) throw refusal;
        let last: GenerateEvent['event'];
        try {
          for await (const event of sidecars[place]!.generate(request, { ...options, signal, isAgain })) {
            if (digest !== undefined && !last) hasBegun(digest, place);
            last = event.event;
            yield event;
          }
        } catch (error) {
          refusals.add(place, error);
          throw error;
        } finally {
          // What was only queued, as another was first, has left nothing there.
          const isKept = options.idempotencyKey !== undefined && last !== 'queued';
          if (digest !== undefined && last) hasEnded(digest, place, isKept);
        }
      }
      const places = inTurn(digest === undefined ? undefined : placeOf(digest));
      const attempts = places.map(
        (place, i) => (signal: AbortSignal) => begin(place, i >= sidecars.length, signal),
      );
      // Without a seed, two sidecars would make two different pictures: either will do.
      yield* firstToBegin(attempts, {
        ...{ signal: options.signal, hedgeMs },
        isWorthAnother: (error) => isFull(error) || isGone(error),
        verdict: (last) => refusals.verdict(last),
      });
    },
    listNames: (options) => firstOf((sidecar) => sidecar.listNames(options)),
    preprocess: (request, options) => firstOf((sidecar) => sidecar.preprocess(request, options)),
    listModels: (options) => firstOf((sidecar) => sidecar.listModels(options)),
    async deviceInfo(options) {
      const asked = await Promise.allSettled(sidecars.map((sidecar) => sidecar.deviceInfo(options)));
      const reached = asked.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
      if (reached.length === 0) throw (asked[0] as PromiseRejectedResult).reason;
      return reached.reduce(together);
    },
    close: () => {
      for (const sidecar of sidecars) sidecar.close();
    },
  };
}

/** Lists one after the other, counts added; ready when one is. */
function together(a: DeviceInfo, b: DeviceInfo): DeviceInfo {
  const both = Object.entries(a).map(([key, value]) => {
    const other = b[key as keyof DeviceInfo];
    if (Array.isArray(value)) return [key, value.concat(other)];
    if (typeof value === 'boolean') return [key, value || other];
    return [key, Number(value) + Number(other)];
  });
  return Object.fromEntries(both);
}
