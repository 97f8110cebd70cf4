import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll } from 'vitest';

export type Routes = Record<string, RequestListener>;

/** Serves these paths on loopback for the tests of one file. Its port is there once they run. */
export function serveRoutes(routes: Routes): { port: number } {
  const served = { port: 0 };
  const server = createServer((request, response) => routes[request.url!]!(request, response));
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    served.port = (server.address() as AddressInfo).port;
  });
  afterAll(() => {
    server.close();
    server.closeAllConnections();
  });
  return served;
}
