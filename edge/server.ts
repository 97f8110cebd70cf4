import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serve } from '@hono/node-server';
import { getConnInfo } from '@hono/node-server/conninfo';
import type { Context } from 'hono';
import { lingering } from './lingering.ts';

export interface ListenOptions {
  hostname: string;
  /** 0: any that is free. */
  port: number;
  /** Milliseconds a request may take to arrive. */
  arrivalMs: number;
}

/** Milliseconds between looks for requests that take too long to arrive. */
const CHECK_MS = 5000;

/**
 * Serves an app over HTTP, on Node.
 * @returns the server, and its URL.
 * @throws Error when the address cannot be bound.
 */
export function listen(
  app: { fetch: (request: Request, env: never) => Response | Promise<Response> },
  { hostname, port, arrivalMs }: ListenOptions,
): Promise<{ server: Server; url: string }> {
  return new Promise((resolve, reject) => {
    const server = serve(
      {
        ...{ fetch: app.fetch as never, hostname, port },
        serverOptions: {
          // Longer than clients and proxies keep connections for: none is closed under a request on its way.
          keepAliveTimeout: 75_000,
          requestTimeout: arrivalMs,
          headersTimeout: Math.min(arrivalMs, 60_000),
          connectionsCheckingInterval: Math.min(arrivalMs, CHECK_MS),
        },
      },
      ({ address, port }: AddressInfo) => {
        server.off('error', reject);
        resolve({ server, url: `http://${address.includes(':') ? `[${address}]` : address}:${port}` });
      },
    ) as Server;
    server.once('error', reject);
    lingering(server);
  });
}

/** The address at the other end; behind a proxy, what the proxy says. */
export function addressOf(trustProxy: boolean): (c: Context) => string {
  return (c) => {
    const forwarded = trustProxy ? c.req.header('x-forwarded-for')?.split(',').at(-1)?.trim() : undefined;
    return forwarded || (getConnInfo(c).remote.address ?? '');
  };
}
