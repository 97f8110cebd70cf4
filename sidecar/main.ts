import { logVerbosity, Server, ServerCredentials, setLogVerbosity } from '@grpc/grpc-js';
import { diffusion } from '../proto/index.ts';
import { startBridge } from './bridge.ts';
import type { Engine } from './engine/engine.ts';
import { errors } from './errors.ts';
import { type CallLog, diffusionService } from './service.ts';

/** Images and masks come in requests. */
const MAX_REQUEST_BYTES = 64 * 2 ** 20;

export interface ServeOptions {
  host: string;
  /** 0: any that is free. */
  port: number;
  /** Where gRPC-Web is served beside it, and what its callers have to send as `authorization: Bearer`. */
  web?: { host: string; port: number; token?: string | undefined } | undefined;
  log?: (entry: CallLog) => void;
}

export interface RunningServer {
  /** `127.0.0.1:50051` */
  address: string;
  /** `127.0.0.1:50052`, where gRPC-Web is served. */
  webAddress: string | undefined;
  /** Takes no more requests, waits for those in flight, ends what is left after `graceMs`; frees the engine. */
  stop(graceMs: number): Promise<void>;
}

/**
 * Serves an engine over gRPC.
 * @throws Error when the address cannot be bound.
 */
export async function serve(engine: Engine, { host, port, web, log }: ServeOptions): Promise<RunningServer> {
  const server = new Server({
    'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
    'grpc.max_send_message_length': -1,
  });
  const stopping = new AbortController();
  server.addService(diffusion.service, diffusionService(engine, { log, stopping: stopping.signal }));
  const bound = await bind(server, host, port);
  const target = `http://${hostPart(reachable(host))}:${bound}`;
  const bridge =
    web &&
    (await startBridge({ ...web, target }).catch((error) => {
      server.forceShutdown();
      throw cannotListen(web.host, web.port, error, '--web-port or GRPC_WEB_PORT');
    }));

  return {
    address: `${hostPart(host)}:${bound}`,
    webAddress: bridge && `${hostPart(web.host)}:${bridge.port}`,
    async stop(graceMs) {
      engine.close();
      bridge?.close();
      const drained = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      const timer = setTimeout(() => {
        stopping.abort(errors.shuttingDown());
        // Their answers still have to leave.
        setTimeout(() => server.forceShutdown(), 1000).unref();
      }, graceMs);
      await drained;
      clearTimeout(timer);
      // Runs that nobody waits for any longer.
      stopping.abort(errors.shuttingDown());
      bridge?.destroy();
      await engine.dispose();
    },
  };
}

function bind(server: Server, host: string, port: number): Promise<number> {
  // What it would log of a taken port is in the error.
  if (!process.env.GRPC_VERBOSITY) setLogVerbosity(logVerbosity.NONE);
  return new Promise((resolve, reject) => {
    server.bindAsync(`${hostPart(host)}:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(cannotListen(host, port, error, '--port or GRPC_PORT'));
      else resolve(bound);
    });
  });
}

function cannotListen(host: string, port: number, error: Error, option: string): Error {
  const reason = /EADDRINUSE|No address added/.test(error.message)
    ? `the port is taken; choose another with ${option}`
    : error.message;
  return new Error(`Cannot listen on ${hostPart(host)}:${port}: ${reason}`, { cause: error });
}

/** Where this machine itself reaches what listens on `host`. */
function reachable(host: string): string {
  return host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
}

function hostPart(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
