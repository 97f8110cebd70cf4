import { openTracing } from '../proto/tracing/open.ts';
import { withConfigFile } from './config-file.ts';
import { NO_KEYS } from './guard/renewed-keys.ts';
import { type NodeSettings, nodeApp, nodeSettings } from './node-app.ts';
import { listen } from './server.ts';

// The edge on Node. docs/deployment.md lists its environment.

/** Seconds beyond the sidecar's grace: its last answers have to get here, and out of here. */
const AFTER_GRACE = 5;

/** Milliseconds between looks for connections that have become idle, when it is being stopped. */
const CLOSE_IDLE_MS = 100;

let settings: NodeSettings;
try {
  settings = withConfigFile(process.env, nodeSettings);
} catch (error) {
  fail((error as Error).message, 2);
}
const { hostname, port, arrivalMs } = settings;
const tracing = await openTracing('latent-edge', settings.env).catch((error) => fail(error.message, 2));
const { app, close } = nodeApp(settings, console.error, tracing);

const { server, url } = await listen(app, { hostname, port, arrivalMs }).catch((error) => {
  const reason = error.code === 'EADDRINUSE' ? 'the port is taken; choose another with PORT' : error.message;
  fail(`cannot listen on ${hostname}:${port}: ${reason}`, 1);
});
console.error(`edge: ${url}`);
if (!settings.guard.keys) console.error(`edge: ${NO_KEYS}`);
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
      close();
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
