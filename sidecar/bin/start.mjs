#!/usr/bin/env node
// npm start: installs and builds what is missing, then runs sidecar and edge together until it is told to stop.
// Arguments go to `latent-edge serve`: npm start -- --model DIR. Plain JavaScript without dependencies.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { setup } from './setup.mjs';

const at = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const args = process.argv.slice(2);
const host = process.env.HOST || '127.0.0.1';
const port = Number(process.env.PORT || 8787);
const grpcHost = process.env.GRPC_HOST || '127.0.0.1';
const grpcPort = Number(process.env.GRPC_PORT || 50051);
const url = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;

const children = new Map();
let stopping = false;

/** Runs a script beside this one, its lines marked with its name. Ctrl-C does not reach it: `stop` does. */
function start(name, script, scriptArgs, env) {
  const child = spawn(process.execPath, [at(script), ...scriptArgs], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: { ...process.env, ...env },
  });
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on('line', (line) => {
      console.error(line.startsWith(`${name}:`) ? line : `${name}: ${line}`);
    });
  const exited = new Promise((resolve) => {
    child.on('exit', (code, signal) => {
      children.delete(name);
      resolve();
      if (!stopping) void stop(`${name} ended unexpectedly (${signal ?? `status ${code}`})`, 1);
    });
  });
  children.set(name, { child, exited });
}

/** Ends edge, then sidecar, and this process. */
async function stop(reason, status) {
  if (stopping) return;
  stopping = true;
  console.error(`${reason}, stopping`);
  for (const name of ['edge', 'sidecar']) {
    const running = children.get(name);
    if (!running) continue;
    running.child.kill('SIGTERM');
    const timer = setTimeout(() => running.child.kill('SIGKILL'), 20_000);
    await running.exited;
    clearTimeout(timer);
  }
  process.exit(status);
}

let signalled = 0;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.on(signal, () => {
    // npm passes on what the terminal has already sent: two at once are one.
    if (signalled && Date.now() - signalled > 1000) {
      for (const { child } of children.values()) child.kill('SIGKILL');
      process.exit(1);
    }
    signalled ||= Date.now();
    void stop(signal, 0);
  });

/** Throws when nothing can listen there. */
async function requireFree(host, port, variable) {
  await new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error) => {
      const taken = error.code === 'EADDRINUSE';
      const why = taken
        ? `port ${port} is taken; choose another: ${variable}=${port + 1} npm start`
        : error.message;
      reject(new Error(`Cannot listen on ${host}:${port}: ${why}`));
    });
    server.listen(port, host, () => server.close(resolve));
  });
}

async function untilHealthy() {
  while (!stopping) {
    const response = await fetch(`${url}/healthz`).catch(() => undefined);
    if (response?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

try {
  await setup((line) => console.error(`${line} …`));
  await requireFree(host, port, 'PORT');
  await requireFree(grpcHost, grpcPort, 'GRPC_PORT');
  start('sidecar', 'sidecar/bin/latent-edge.mjs', ['serve', ...args], {
    GRPC_HOST: grpcHost,
    GRPC_PORT: String(grpcPort),
  });
  start('edge', 'dist/edge/node.js', [], {
    HOST: host,
    PORT: String(port),
    SIDECAR_ADDRESS: process.env.SIDECAR_ADDRESS || `${grpcHost}:${grpcPort}`,
  });
  await untilHealthy();
  if (!stopping)
    console.log(`
latent-edge is ready at ${url}

  curl ${url}/v1/images/generations \\
    -H 'content-type: application/json' -H 'accept: image/png' \\
    -d '{"prompt": "red apple"}' -o apple.png

Ctrl-C stops it.
`);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
