import { serve } from '@hono/node-server';
import { createApp } from './app.ts';
import { defaultLimits, MAX_IMAGE_BODY_BYTES } from './limits.ts';
import { grpcSidecar } from './sidecar/grpc.ts';

// The edge on Node. Environment: HOST, PORT, SIDECAR_ADDRESS, REQUEST_TIMEOUT_SECONDS, MAX_BODY_BYTES, MAX_REPLY_PIXELS,
// LATENT_EDGE_GRACE.

/** Seconds beyond the sidecar's grace: its last answers have to get here, and out of here. */
const AFTER_GRACE = 5;

const hostname = process.env.HOST || '127.0.0.1';
const port = wholeNumber('PORT', 8787, 65_535);
const graceSeconds = wholeNumber('LATENT_EDGE_GRACE', 10, 3600);
const sidecar = grpcSidecar(process.env.SIDECAR_ADDRESS || '127.0.0.1:50051');

const app = createApp({
  sidecar,
  limits: {
    imageBodyBytes: wholeNumber('MAX_BODY_BYTES', defaultLimits.imageBodyBytes, MAX_IMAGE_BODY_BYTES),
    replyPixels: wholeNumber('MAX_REPLY_PIXELS', defaultLimits.replyPixels, 2 ** 30),
  },
  timeoutMs: 1000 * wholeNumber('REQUEST_TIMEOUT_SECONDS', 1800, 86_400),
  log: ({ requestId, method, path, status, ms, error }) => {
    if (path === '/healthz') return;
    console.error(`${new Date().toISOString()} ${method} ${path} ${status} ${ms.toFixed(0)} ms ${requestId}`);
    if (error) console.error(error);
  },
});

const server = serve({ fetch: app.fetch, hostname, port }, ({ address, port }) => {
  console.error(`edge: http://${address.includes(':') ? `[${address}]` : address}:${port}`);
});

server.on('error', (error: NodeJS.ErrnoException) => {
  const reason = error.code === 'EADDRINUSE' ? 'the port is taken; choose another with PORT' : error.message;
  console.error(`edge: cannot listen on ${hostname}:${port}: ${reason}`);
  process.exit(1);
});

let stopping = false;
// `disconnect`: the process that started this one has ended.
for (const event of ['SIGINT', 'SIGTERM', 'disconnect'] as const) {
  process.on(event, () => {
    if (stopping) process.exit(1);
    stopping = true;
    // Requests in flight may finish.
    server.close(() => {
      sidecar.close();
      process.exit(0);
    });
    if ('closeIdleConnections' in server) server.closeIdleConnections();
    setTimeout(() => process.exit(0), 1000 * (graceSeconds + AFTER_GRACE)).unref();
  });
}

function wholeNumber(name: string, fallback: number, max: number): number {
  const text = process.env[name];
  if (!text) return fallback;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > max) {
    console.error(
      `edge: expected a whole number from 0 to ${max} for ${name} but received ${JSON.stringify(text)}`,
    );
    process.exit(2);
  }
  return value;
}
