import { openTracing } from '../tracing/open.ts';
import { createApp } from './app.ts';
import { memoryCache } from './cache/memory.ts';
import { flag, list, readSettings, wholeNumber } from './config.ts';
import { withConfigFile } from './config-file.ts';
import { memoryLimiter } from './guard/memory-limiter.ts';
import { NO_KEYS, renewKeys, withKeysFile } from './guard/renewed-keys.ts';
import { JobStore } from './jobs/store.ts';
import { accessLogger, logFormat } from './log-lines.ts';
import { pictureFetcher } from './net/pictures.ts';
import { postWebhook } from './net/public-request.ts';
import { reference } from './reference.ts';
import { addressOf, listen } from './server.ts';
import { grpcSidecar } from './sidecar/grpc.ts';
import { readSidecarOptions, sidecarFiles } from './sidecar/grpc-options.ts';
import { sidecarPool } from './sidecar/pool.ts';
import { renewedSidecar } from './sidecar/renewed.ts';
import { tracedSidecar } from './tracing.ts';
import { stampOf } from './when-changed.ts';

// The edge on Node. docs/deployment.md lists its environment.

/** Seconds beyond the sidecar's grace: its last answers have to get here, and out of here. */
const AFTER_GRACE = 5;

/** Milliseconds between looks for connections that have become idle, when it is being stopped. */
const CLOSE_IDLE_MS = 100;

function settingsOf(env: NodeJS.ProcessEnv) {
  const file = env.API_KEYS_FILE;
  // Before it is read: what is written to it meanwhile is found later.
  const keysStamp = file ? stampOf([file]) : undefined;
  const { guard, ...settings } = readSettings(env);
  const addresses = list(env, 'SIDECAR_ADDRESS');
  return {
    env,
    ...settings,
    ...{ guard: file ? withKeysFile(guard, file) : guard, keysStamp },
    hostname: env.HOST || '127.0.0.1',
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

let settings: ReturnType<typeof settingsOf>;
try {
  settings = withConfigFile(process.env, settingsOf);
} catch (error) {
  fail((error as Error).message, 2);
}
const { timeoutMs, limits, hostname, port, arrivalMs } = settings;
const tracing = await openTracing('latent-edge', settings.env).catch((error) => fail(error.message, 2));
const reached = (address: string) => {
  const client = renewedSidecar({
    files: sidecarFiles(settings.env),
    open: () => grpcSidecar(address, readSidecarOptions(settings.env)),
    say: (line) => console.error(`edge: ${line}`),
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
renewKeys(guard, {
  file: settings.env.API_KEYS_FILE,
  since: settings.keysStamp,
  say: (line) => console.error(`edge: ${line}`),
});
const app = createApp({
  sidecar,
  ...{ timeoutMs, limits, tracing },
  cache: memoryCache(settings.cache),
  jobs: settings.jobs.count > 0 ? new JobStore(sidecar, settings.jobs) : undefined,
  webhooks: settings.webhooks && { ...settings.webhooks, post: postWebhook, log: console.error },
  fetchPicture:
    settings.imageHosts.length > 0
      ? pictureFetcher(settings.imageHosts, { maxBytes: limits.imageBodyBytes })
      : undefined,
  reference: reference(),
  guard,
  log: accessLogger(settings.log, (line) => console.error(line)),
});

const { server, url } = await listen(app, { hostname, port, arrivalMs }).catch((error) => {
  const reason = error.code === 'EADDRINUSE' ? 'the port is taken; choose another with PORT' : error.message;
  fail(`cannot listen on ${hostname}:${port}: ${reason}`, 1);
});
console.error(`edge: ${url}`);
if (!guard.keys) console.error(`edge: ${NO_KEYS}`);
if (settings.guard.keys?.length === 0 && !/^(127\.|::1$|localhost$)/.test(hostname))
  console.error('edge: open to everyone who reaches it, as there are no API_KEYS (docs/security.md)');

let stopping = false;
// `disconnect`: the process that started this one has ended.
for (const event of ['SIGINT', 'SIGTERM', 'disconnect'] as const) {
  process.on(event, () => {
    if (stopping) process.exit(1);
    stopping = true;
    // Requests in flight may finish.
    server.close(async () => {
      sidecar.close();
      await tracing?.close();
      process.exit(0);
    });
    // Those that a request in flight has kept open, too.
    setInterval(() => server.closeIdleConnections(), CLOSE_IDLE_MS).unref();
    server.closeIdleConnections();
    setTimeout(() => process.exit(0), 1000 * (settings.graceSeconds + AFTER_GRACE)).unref();
  });
}

function fail(message: string, status: number): never {
  console.error(`edge: ${message}`);
  process.exit(status);
}
