#!/usr/bin/env node
// npm start: installs and builds what is missing, then runs sidecar and edge together until it is told to stop.
// Arguments go to `latent-edge serve`: npm start -- --model DIR. Plain JavaScript without dependencies.
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { setup } from './setup.mjs';

const at = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const args = process.argv.slice(2);
const config = readConfig();
const host = process.env.HOST || config.edge?.host || '127.0.0.1';
const grpcHost = process.env.GRPC_HOST || config.sidecar?.host || '127.0.0.1';
/** A sidecar that runs elsewhere: then only the edge is started. */
const remote = process.env.SIDECAR_ADDRESS || config.edge?.sidecar_address?.join(',');
/** How long both may take to be ready: a model on a slow disk takes its time. */
const readySeconds = Number(process.env.LATENT_EDGE_START_TIMEOUT) || 120;
const sidecarScript = 'sidecar/bin/latent-edge.mjs';

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

/**
 * Ends sidecar and edge, and this process. Both are told at once: the edge takes no more connections and stays until
 * the sidecar has answered those that it has.
 */
async function stop(reason, status) {
  if (stopping) return;
  stopping = true;
  console.error(
    `${reason}, stopping${status === 0 ? `: finishing what is in flight, for ${grace()} s at most; again, and it ends at once` : ''}`,
  );
  const ended = [...children.values()].map(async ({ child, exited }) => {
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), 1000 * (grace() + 20));
    await exited;
    clearTimeout(timer);
  });
  await Promise.all(ended);
  process.exit(status);
}

/** Seconds for requests in flight, as the sidecar is told. */
function grace() {
  const at = args.findLastIndex((arg) => arg === '--grace' || arg.startsWith('--grace='));
  const given =
    at < 0
      ? process.env.LATENT_EDGE_GRACE || config.sidecar?.grace
      : (args[at].split('=')[1] ?? args[at + 1]);
  return given && Number(given) >= 0 ? Number(given) : 10;
}

/** The file of settings, which both halves read and check themselves; what is needed of it here. */
function readConfig() {
  const at = args.findLastIndex((arg) => arg === '--config' || arg.startsWith('--config='));
  if (at >= 0) process.env.LATENT_EDGE_CONFIG = args[at].split('=')[1] ?? args[at + 1];
  try {
    return JSON.parse(readFileSync(process.env.LATENT_EDGE_CONFIG || '', 'utf8')) ?? {};
  } catch {
    return {};
  }
}

/** What the sidecar asks of its callers, for the edge. */
function sidecarToken() {
  const { GRPC_TOKEN, GRPC_TOKEN_FILE, SIDECAR_TOKEN, SIDECAR_TOKEN_FILE } = process.env;
  if (SIDECAR_TOKEN || SIDECAR_TOKEN_FILE) return {};
  const token = GRPC_TOKEN || config.sidecar?.token;
  const file = GRPC_TOKEN_FILE || config.sidecar?.token_file;
  return { ...(token && { SIDECAR_TOKEN: token }), ...(file && { SIDECAR_TOKEN_FILE: file }) };
}

/** Has glibc keep the memory of pictures for the next ones, where the environment does not say otherwise. */
function allocator() {
  const settings = Object.entries(JSON.parse(readFileSync(at('edge/allocator.json'), 'utf8')));
  return Object.fromEntries(settings.filter(([name]) => process.env[name] === undefined));
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

/** A port out of the environment; 0: one that is free. */
async function portOf(variable, fallback, host) {
  const text = process.env[variable] || String(fallback);
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535)
    throw new Error(
      `Expected a whole number from 0 to 65535 for ${variable} but received ${JSON.stringify(text)}`,
    );
  return Number(text) || (await listenable(0, host));
}

/** Listens for a moment. Returns the port; throws when nothing can listen there. */
function listenable(port, host) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(port, host, () => {
      const bound = server.address().port;
      server.close(() => resolve(bound));
    });
  });
}

/** Throws when one of them cannot be listened on, with a command line that would do for all of them. */
async function requireFree(wanted) {
  const errors = await Promise.all(
    wanted.map(({ port, host }) =>
      listenable(port, host).then(
        () => undefined,
        (error) => error,
      ),
    ),
  );
  const other = errors.findIndex((error) => error && error.code !== 'EADDRINUSE');
  if (other >= 0)
    throw new Error(
      `Cannot listen on ${address(wanted[other].host, wanted[other].port)}: ${errors[other].message}`,
    );
  const taken = wanted.filter((_, i) => errors[i]);
  if (taken.length === 0) return;
  const numbers = taken.map(({ port }) => port).join(' and ');
  const settings = [];
  for (const { variable, port, host } of wanted) {
    // Those of the environment are said again: the user may have set them for this command alone.
    const given = process.env[variable];
    const isTaken = taken.some((each) => each.variable === variable);
    if (isTaken || given) settings.push(`${variable}=${isTaken ? await freeAfter(port, host) : given}`);
  }
  const is = taken.length > 1 ? `ports ${numbers} are taken` : `port ${numbers} is taken`;
  const what = (await isLatentEdge(wanted[0]))
    ? `latent-edge already runs at ${urlOf(wanted[0].port)}: `
    : '';
  const command = ['npm start', ...(args.length > 0 ? ['--', ...args] : [])].join(' ');
  throw new Error(`${what}${is}; to run beside it: ${settings.join(' ')} ${command}`);
}

async function freeAfter(port, host) {
  for (let next = port + 1; next < Math.min(port + 50, 65_536); next++)
    if (await listenable(next, host).catch(() => 0)) return next;
  return 0;
}

async function isLatentEdge({ port }) {
  // Not AbortSignal.timeout: nothing else may keep this process going until there is an answer.
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), 1000);
  try {
    const response = await fetch(`${urlOf(port)}/healthz`, { signal: patience.signal });
    return (await response.json()).sidecar !== undefined;
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}

/** What is said with --help, and where something does not reach the sidecar as it was meant to. */
function checkArguments() {
  // npm takes for itself what comes before --, and shows it in the environment.
  const options = [
    'model',
    'device',
    'threads',
    'dtype',
    'providers',
    'device_memory',
    'concurrency',
    'queue_limit',
    'memory_budget',
    'grace',
  ];
  const kept = options.find((name) => process.env[`npm_config_${name}`] !== undefined);
  if (kept && process.env.npm_lifecycle_event === 'start') {
    const option = `--${kept.replaceAll('_', '-')}`;
    throw new Error(
      `Expected -- before ${option}, as npm keeps it for itself without: npm start -- ${option} …`,
    );
  }
  const variables = { '--port': 'GRPC_PORT', '--host': 'GRPC_HOST' };
  for (const [option, variable] of Object.entries(variables))
    if (args.some((arg) => arg === option || arg.startsWith(`${option}=`)))
      throw new Error(
        `Expected ${variable} in place of ${option}, which is the sidecar's alone: ${variable}=… npm start (${variable.slice(5)} for HTTP)`,
      );
  if (remote && args.length > 0)
    throw new Error(
      `Expected no arguments beside SIDECAR_ADDRESS, with which no sidecar is started, but received ${args.join(' ')}`,
    );
}

function help() {
  console.log(`npm start [-- OPTIONS]: sidecar and HTTP edge together. Environment:
  HOST, PORT            where HTTP is served (127.0.0.1, 8787; port 0: any that is free)
  GRPC_HOST, GRPC_PORT  where the sidecar is (127.0.0.1, 50051)
  GRPC_WEB_PORT         serves gRPC-Web as well, for an edge on Workers (none)
  SIDECAR_ADDRESS       HOST:PORT of a sidecar that runs already: only the edge is started
  LATENT_EDGE_CONFIG    file of settings of both (docs/settings.md)
  LATENT_EDGE_START_TIMEOUT  seconds until both have to answer (120)
Options are those of the sidecar, but for --host and --port:
`);
  return (
    spawnSync(process.execPath, [at(sidecarScript), 'serve', '--help'], { stdio: 'inherit' }).status ?? 1
  );
}

function urlOf(port) {
  return `http://${address(host, port)}`;
}

function address(host, port) {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** `npm start` killed hard takes what it has started along. */
function followNpm() {
  if (process.env.npm_lifecycle_event !== 'start') return;
  const parent = process.ppid;
  setInterval(() => process.ppid !== parent && void stop('npm has ended', 1), 1000).unref();
}

/** Waits for the edge and the sidecar behind it; ends everything when they have not answered in time. */
async function untilHealthy(url, sidecarAddress) {
  const until = Date.now() + 1000 * readySeconds;
  let last = 'nothing yet';
  while (!stopping) {
    try {
      const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(5000) });
      if (response.ok) return;
      last = `status ${response.status}: ${await response.text()}`;
    } catch (error) {
      last = (error.cause ?? error).message;
    }
    if (Date.now() >= until) {
      const waited = `${readySeconds} s for ${url}/healthz, with the sidecar at ${sidecarAddress}`;
      return stop(`Not ready: waited ${waited}; the last answer was: ${last}`, 1);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

try {
  checkArguments();
  await setup((line) => console.error(`${line} …`));
  if (args.includes('--help') || args.includes('-h')) process.exit(help());
  const port = await portOf('PORT', config.edge?.port ?? 8787, host);
  const grpcPort = await portOf('GRPC_PORT', config.sidecar?.port ?? 50051, grpcHost);
  const url = urlOf(port);
  const edge = { variable: 'PORT', port, host };
  await requireFree(remote ? [edge] : [edge, { variable: 'GRPC_PORT', port: grpcPort, host: grpcHost }]);
  followNpm();
  const sidecarAddress = remote || address(grpcHost, grpcPort);
  if (remote) console.error(`sidecar: the one at ${remote} (SIDECAR_ADDRESS)`);
  else
    start('sidecar', sidecarScript, ['serve', ...args], {
      GRPC_HOST: grpcHost,
      GRPC_PORT: String(grpcPort),
      // It has just been done.
      LATENT_EDGE_SETUP: 'off',
    });
  start('edge', 'dist/edge/node.js', [], {
    ...allocator(),
    HOST: host,
    PORT: String(port),
    SIDECAR_ADDRESS: sidecarAddress,
    LATENT_EDGE_GRACE: String(grace()),
    ...(!remote && sidecarToken()),
  });
  await untilHealthy(url, sidecarAddress);
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
