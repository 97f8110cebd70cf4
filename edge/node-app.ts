import { stampOf } from '../proto/renewal.ts';
import type { Tracing } from '../proto/tracing/index.ts';
import { createApp } from './app.ts';
import { memoryCache } from './cache/memory.ts';
import { flag, list, readSettings, text, wholeNumber } from './config.ts';
import { memoryLimiter } from './guard/memory-limiter.ts';
import { renewKeys, withKeysFile } from './guard/renewed-keys.ts';
import { JobStore } from './jobs/store.ts';
import { accessLogger, logFormat } from './log-lines.ts';
import { pictureFetcher } from './net/pictures.ts';
import { postWebhook } from './net/public-request.ts';
import { reference } from './reference.ts';
import { addressOf } from './server.ts';
import { grpcSidecar } from './sidecar/grpc.ts';
import { readSidecarOptions, sidecarFiles } from './sidecar/grpc-options.ts';
import { sidecarPool } from './sidecar/pool.ts';
import { renewedSidecar } from './sidecar/renewed.ts';
import { tracedSidecar } from './tracing.ts';

export type NodeSettings = ReturnType<typeof nodeSettings>;

/**
 * What an operator sets of the edge on Node; docs/deployment.md lists it.
 * @throws Error saying which setting is wrong, and how.
 */
export function nodeSettings(env: NodeJS.ProcessEnv) {
  const file = text(env, 'API_KEYS_FILE');
  // Before it is read: what is written to it meanwhile is found later.
  const keysStamp = file ? stampOf([file]) : undefined;
  const { guard, ...settings } = readSettings(env);
  const addresses = list(env, 'SIDECAR_ADDRESS');
  return {
    env,
    ...settings,
    ...{ guard: file ? withKeysFile(guard, file) : guard, keysFile: file, keysStamp },
    hostname: text(env, 'HOST') ?? '127.0.0.1',
    port: wholeNumber(env, 'PORT', 8787, 65_535),
    graceSeconds: wholeNumber(env, 'LATENT_EDGE_GRACE', 10, 3600),
    arrivalMs: 1000 * wholeNumber(env, 'ARRIVAL_TIMEOUT_SECONDS', 120, 3600),
    trustProxy: flag(env, 'TRUST_PROXY'),
    addresses: addresses.length > 0 ? addresses : ['127.0.0.1:50051'],
    // Read again for each client; what is wrong is said at the start.
    sidecar: readSidecarOptions(env),
    log: logFormat(env),
    hedgeMs: wholeNumber(env, 'SIDECAR_HEDGE_MS', 0, 600_000),
  };
}

/**
 * The edge with all that Node has for it.
 * @param say receives its log, line by line
 * @returns the app, and what ends its calls.
 */
export function nodeApp(settings: NodeSettings, say: (line: string) => void, tracing?: Tracing) {
  const { env, timeoutMs, limits } = settings;
  const notice = (line: string) => say(`edge: ${line}`);
  const reached = (address: string) => {
    const client = renewedSidecar({
      files: sidecarFiles(env),
      open: () => grpcSidecar(address, readSidecarOptions(env)),
      say: notice,
    });
    return tracing ? tracedSidecar(client, address, tracing) : client;
  };
  const sidecar = sidecarPool(
    settings.addresses.map(reached),
    // A name may stand for several: what one of them cannot do, the next is asked for.
    { hedgeMs: settings.hedgeMs || undefined, attempts: 1 + settings.addresses.length },
  );
  const guard = {
    ...settings.guard,
    limiter: memoryLimiter(settings.perMinute),
    addressOf: addressOf(settings.trustProxy),
  };
  const webhooks = settings.webhooks && { ...settings.webhooks, post: postWebhook, log: say };
  const endRenewal = renewKeys(guard, {
    ...{ file: settings.keysFile, since: settings.keysStamp, say: notice },
  });
  const app = createApp({
    sidecar,
    ...{ timeoutMs, limits, tracing },
    cache: memoryCache(settings.cache),
    jobs: settings.jobs.count > 0 ? new JobStore(sidecar, { limits: settings.jobs, webhooks }) : undefined,
    fetchPicture:
      settings.imageHosts.length > 0
        ? pictureFetcher(settings.imageHosts, { maxBytes: limits.imageBodyBytes })
        : undefined,
    reference: reference(),
    guard,
    log: accessLogger(settings.log, say),
  });
  return {
    app,
    close() {
      endRenewal();
      sidecar.close();
    },
  };
}
