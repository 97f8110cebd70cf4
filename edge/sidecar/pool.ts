import { firstToBegin } from './attempts.ts';
import {
  type CallOptions,
  type DeviceInfo,
  type GenerateRequest,
  type SidecarClient,
  SidecarError,
} from './client.ts';
import { requestDigest, toHex } from './request-digest.ts';

export interface PoolOptions {
  /** Milliseconds without a step after which a request is begun on another sidecar too; undefined: never. */
  hedgeMs?: number | undefined;
  /** How often a request is tried, where that is more often than there are sidecars: a name may stand for several. */
  attempts?: number | undefined;
}

/**
 * Several sidecars as one: calls go round; one that cannot be reached, or is gone before it has done a step, is passed
 * over. All of them have to serve the same models.
 */
export function sidecarPool(
  sidecars: readonly SidecarClient[],
  { hedgeMs, attempts = 1 }: PoolOptions = {},
): SidecarClient {
  if (sidecars.length === 1 && attempts === 1) return sidecars[0]!;
  if (sidecars.length === 0) throw new Error('Expected one sidecar at least but received none');
  let turn = 0;
  const inTurn = (place = turn++) => {
    const first = place % sidecars.length;
    const tries = Math.max(attempts, sidecars.length);
    return Array.from({ length: tries }, (_, i) => sidecars[(first + i) % sidecars.length]!);
  };

  /** Where a request is begun, if it may come again: then it goes where it went before. */
  async function placeOf(request: GenerateRequest, options: CallOptions): Promise<number | undefined> {
    const { idempotencyKey, isSeeded } = options;
    if (sidecars.length === 1 || !(idempotencyKey || isSeeded)) return undefined;
    const hash = idempotencyKey ?? toHex(await requestDigest(request));
    return Number.parseInt(hash.slice(0, 8), 16) || 0;
  }

  async function firstOf<T>(call: (sidecar: SidecarClient) => Promise<T>): Promise<T> {
    let last: unknown;
    for (const sidecar of inTurn()) {
      try {
        return await call(sidecar);
      } catch (error) {
        if (!isUnreachable(error)) throw error;
        last = error;
      }
    }
    throw last;
  }

  return {
    async *generate(request, options = {}) {
      const attempts = inTurn(await placeOf(request, options)).map(
        (sidecar) => (signal: AbortSignal) => sidecar.generate(request, { ...options, signal }),
      );
      // Without a seed, two sidecars would make two different pictures: either will do.
      yield* firstToBegin(attempts, { signal: options.signal, hedgeMs, isWorthAnother: isUnreachable });
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

/** Not there, or about to go: another may do. */
function isUnreachable(error: unknown): boolean {
  return (
    error instanceof SidecarError &&
    ['sidecar_unreachable', 'shutting_down', 'device_lost'].includes(error.code)
  );
}
