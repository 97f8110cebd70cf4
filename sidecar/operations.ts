import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';

export interface OperationsOptions {
  host: string;
  /** 0: any that is free. */
  port: number;
  registry: Registry;
  isReady: () => boolean;
}

export interface RunningOperations {
  port: number;
  close(): void;
}

/**
 * What operators' tools ask over HTTP: /metrics for Prometheus; /livez and /readyz for probes that speak no gRPC, or no
 * TLS.
 * @throws Error when the address cannot be bound.
 */
export async function startOperations(options: OperationsOptions): Promise<RunningOperations> {
  const { host, port } = options;
  const server = createServer((request, response) => {
    request.resume();
    answer(request, response, options).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(new Error(`Cannot listen on ${host}:${port} for metrics: ${error.message}`, { cause: error })),
    );
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function answer(
  { method, url }: IncomingMessage,
  response: ServerResponse,
  { registry, isReady }: OperationsOptions,
): Promise<void> {
  const say = (status: number, text: string, type = 'text/plain; charset=utf-8') =>
    void response.writeHead(status, { 'content-type': type }).end(method === 'HEAD' ? undefined : text);
  if (method !== 'GET' && method !== 'HEAD') return say(405, 'GET or HEAD\n');
  switch (url?.split('?')[0]) {
    case '/metrics':
      return say(200, await registry.metrics(), registry.contentType);
    case '/livez':
      return say(200, 'ok\n');
    case '/readyz':
      return isReady() ? say(200, 'ok\n') : say(503, 'not ready\n');
    default:
      return say(404, 'There are /metrics, /livez and /readyz\n');
  }
}
