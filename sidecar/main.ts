import { logVerbosity, Server, ServerCredentials, setLogVerbosity } from '@grpc/grpc-js';
import { diffusion } from '../proto/index.ts';
import type { Engine } from './engine/engine.ts';
import { errors } from './errors.ts';
import { type CallLog, diffusionService } from './service.ts';

/** Requests are small now; images, masks and tensors come in them later. */
const MAX_REQUEST_BYTES = 64 * 2 ** 20;

export interface ServeOptions {
  host: string;
  /** 0: any that is free. */
  port: number;
  log?: (entry: CallLog) => void;
}

export interface RunningServer {
  /** `127.0.0.1:50051` */
  address: string;
  /** Takes no more requests, waits for those in flight, ends what is left after `graceMs`; frees the engine. */
  stop(graceMs: number): Promise<void>;
}

/**
 * Serves an engine over gRPC.
 * @throws Error when the address cannot be bound.
 */
export async function serve(engine: Engine, { host, port, log }: ServeOptions): Promise<RunningServer> {
  const server = new Server({
    'grpc.max_receive_message_length': MAX_REQUEST_BYTES,
    'grpc.max_send_message_length': -1,
  });
  const stopping = new AbortController();
  server.addService(diffusion.service, diffusionService(engine, { log, stopping: stopping.signal }));
  const bound = await bind(server, host, port);

  return {
    address: `${hostPart(host)}:${bound}`,
    async stop(graceMs) {
      engine.close();
      const drained = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      const timer = setTimeout(() => {
        stopping.abort(errors.shuttingDown());
        // Their answers still have to leave.
        setTimeout(() => server.forceShutdown(), 1000).unref();
      }, graceMs);
      await drained;
      clearTimeout(timer);
      await engine.dispose();
    },
  };
}

function bind(server: Server, host: string, port: number): Promise<number> {
  // What it would log of a taken port is in the error.
  if (!process.env.GRPC_VERBOSITY) setLogVerbosity(logVerbosity.NONE);
  return new Promise((resolve, reject) => {
    server.bindAsync(`${hostPart(host)}:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
      if (!error) return resolve(bound);
      const reason = /EADDRINUSE|No address added/.test(error.message)
        ? 'the port is taken; choose another with --port or GRPC_PORT'
        : error.message;
      reject(new Error(`Cannot listen on ${hostPart(host)}:${port}: ${reason}`, { cause: error }));
    });
  });
}

function hostPart(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
