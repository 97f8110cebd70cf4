import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { logVerbosity, Server, type ServerCredentials, setLogVerbosity } from '@grpc/grpc-js';
import { diffusion } from '../proto/index.ts';
import type { Tracing } from '../proto/tracing/index.ts';
import { startBridge } from './bridge.ts';
import type { CallLog } from './calls.ts';
import type { Engine } from './engine/engine.ts';
import { errors } from './errors.ts';
import { Health } from './health.ts';
import { Metrics } from './metrics.ts';
import { startOperations } from './operations.ts';
import { addReflection } from './reflection.ts';
import { diffusionService } from './service.ts';
import { serverCredentials, type Tls } from './tls.ts';
import { askForToken, Callers } from './token.ts';

/** Images and masks come in requests. */
export const MAX_REQUEST_BYTES = 64 * 2 ** 20;

/** Answers that have been given still have to leave: milliseconds for that. */
const LEAVING_MS = 1000;

export interface ServeOptions {
  host: string;
  /** 0: any that is free. */
  port: number;
  /** Of which callers have to send one, as `authorization: Bearer`; none: nothing is asked for. */
  tokens?: readonly string[] | undefined;
  tls?: Tls | undefined;
  /** Bytes of a request, at most; default 64 MiB. */
  maxRequestBytes?: number | undefined;
  connections?: ConnectionLimits | undefined;
  /** Where gRPC-Web is served beside it, and what its callers have to send; default: one of `tokens`. */
  web?: { host: string; port: number; tokens?: readonly string[] | undefined } | undefined;
  /** What has to be done before the sidecar is ready; calls are taken meanwhile. */
  warmUp?: (() => Promise<void>) | undefined;
  log?: ((entry: CallLog) => void) | undefined;
  /** Whether prompts may stand in the log. */
  logPrompts?: boolean | undefined;
  /** Makes spans of calls and their stages. */
  tracing?: Tracing | undefined;
  /** Where metrics are served, and probes answered, over HTTP. */
  operations?: { host: string; port: number } | undefined;
}

/** Seconds. */
export interface ConnectionLimits {
  /** Without a word from a caller with a call: then it is asked, and has half as long to answer. Default: 30. */
  keepalive?: number | undefined;
  /** After which a caller is asked to connect anew; undefined: never. */
  maxAge?: number | undefined;
  /** That calls of such a connection may still take; undefined: as long as they need. */
  maxAgeGrace?: number | undefined;
}

export interface RunningServer {
  /** `127.0.0.1:50051` */
  address: string;
  /** `127.0.0.1:50052`, where gRPC-Web is served. */
  webAddress: string | undefined;
  /** `127.0.0.1:9464`, where metrics are served. */
  operationsAddress: string | undefined;
  /** Until it is warm; rejects when it cannot be. */
  ready: Promise<void>;
  isReady(): boolean;
  /** Asks callers for other tokens from now on, and shows new connections other certificates. */
  renew(access: Pick<ServeOptions, 'tokens' | 'tls' | 'web'>): void;
  /**
   * Says so to who asks for its health, and goes on for `delayMs`; then takes no more requests, waits for those in flight,
   * answers what is left after `graceMs`, and frees the engine.
   */
  stop(graceMs: number, delayMs?: number): Promise<void>;
}

/**
 * Serves an engine over gRPC.
 * @throws Error when the address cannot be bound.
 */
export async function serve(engine: Engine, options: ServeOptions): Promise<RunningServer> {
  const { host, port, web, tls, log, tokens = [], warmUp = async () => {} } = options;
  const callers = new Callers(tokens);
  const server = new Server({
    ...channelOptions(options),
    interceptors: callers.areAsked ? [askForToken(callers.isCaller)] : [],
  });
  const stopping = new AbortController();
  const health = new Health(() => engine.models());
  const isReady = () => health.isReady;
  const metrics = options.operations && new Metrics(engine);
  if (metrics) engine.watch(metrics);
  const { handlers, calls } = diffusionService(engine, {
    ...{ log, stopping: stopping.signal, isReady, metrics, logPrompts: options.logPrompts },
    tracing: options.tracing,
  });
  server.addService(diffusion.service, handlers);
  health.addTo(server);
  addReflection(server);
  const certificates = serverCredentials(tls);
  const bound = await bind(server, host, port, certificates.credentials).catch((error) => {
    throw cannotListen(host, port, error, '--port or GRPC_PORT');
  });
  const webCallers = web?.tokens ? new Callers(web.tokens) : callers;
  const bridge = web && (await openBridge(server, web, { tls, callers, webCallers }));
  const operations =
    options.operations &&
    (await startOperations({ ...options.operations, registry: metrics!.registry, isReady }).catch(
      async (error) => {
        server.forceShutdown();
        await bridge?.destroy();
        throw error;
      },
    ));
  let isLost = false;
  const ready = warmUp().then(() => {
    if (!isLost) health.begin();
  });
  void engine.lost.then(() => {
    isLost = true;
    health.end();
  });
  // Whoever waits for it is told.
  ready.catch(() => {});

  return {
    address: `${hostPart(host)}:${bound}`,
    webAddress: bridge && `${hostPart(web!.host)}:${bridge.port}`,
    operationsAddress: operations && `${hostPart(options.operations!.host)}:${operations.port}`,
    ready,
    isReady,
    renew({ tokens = [], tls, web }) {
      callers.renew(tokens);
      certificates.renew(tls);
      if (web?.tokens) webCallers.renew(web.tokens);
      if (tls) bridge?.renew(tls);
    },
    async stop(graceMs, delayMs = 0) {
      health.end();
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      engine.close();
      bridge?.close();
      const closed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      const timer = setTimeout(() => stopping.abort(errors.shuttingDown()), graceMs);
      await calls.idle();
      clearTimeout(timer);
      // Runs that nobody waits for any longer.
      stopping.abort(errors.shuttingDown());
      await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, LEAVING_MS))]);
      // Those who watch its health stay until then.
      server.forceShutdown();
      await bridge?.destroy();
      operations?.close();
      await engine.dispose();
      await options.tracing?.close();
    },
  };
}

function channelOptions({ maxRequestBytes = MAX_REQUEST_BYTES, connections = {} }: ServeOptions) {
  const { keepalive = 30, maxAge, maxAgeGrace } = connections;
  return {
    'grpc.max_receive_message_length': maxRequestBytes,
    'grpc.max_send_message_length': -1,
    // Callers that are gone without a word are found out, and their work ends.
    'grpc.keepalive_time_ms': 1000 * keepalive,
    'grpc.keepalive_timeout_ms': 500 * keepalive,
    ...(maxAge !== undefined && { 'grpc.max_connection_age_ms': 1000 * maxAge }),
    ...(maxAgeGrace !== undefined && { 'grpc.max_connection_age_grace_ms': 1000 * maxAgeGrace }),
  };
}

/** gRPC-Web, in front of a socket that nobody else reaches. */
async function openBridge(
  server: Server,
  web: NonNullable<ServeOptions['web']>,
  { tls, callers, webCallers }: { tls: Tls | undefined; callers: Callers; webCallers: Callers },
) {
  const folder = await mkdtemp(join(tmpdir(), 'latent-edge-'));
  const target = join(folder, 'grpc');
  const remove = () => rm(folder, { recursive: true, force: true });
  try {
    await bind(server, `unix:${target}`, undefined, serverCredentials(undefined).credentials);
    const bridge = await startBridge({
      ...{ host: web.host, port: web.port, target, tls },
      isCaller: webCallers.areAsked ? webCallers.isCaller : undefined,
      authorization: () => callers.authorization(),
    });
    const destroy = async () => {
      bridge.destroy();
      await remove();
    };
    return { ...bridge, destroy };
  } catch (error) {
    server.forceShutdown();
    await remove();
    throw cannotListen(web.host, web.port, error as Error, '--web-port or GRPC_WEB_PORT');
  }
}

/** Listens on a host's port, or on what has none. */
function bind(
  server: Server,
  host: string,
  port: number | undefined,
  credentials: ServerCredentials,
): Promise<number> {
  // What it would log of a taken port is in the error.
  if (!process.env.GRPC_VERBOSITY) setLogVerbosity(logVerbosity.NONE);
  const address = port === undefined ? host : `${hostPart(host)}:${port}`;
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
}

function cannotListen(host: string, port: number, error: Error, option: string): Error {
  const reason = /EADDRINUSE|No address added/.test(error.message)
    ? `the port is taken; choose another with ${option}`
    : error.message;
  return new Error(`Cannot listen on ${hostPart(host)}:${port}: ${reason}`, { cause: error });
}

function hostPart(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
