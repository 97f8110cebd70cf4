import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { afterEach, describe, expect, it } from 'vitest';

// npm start, as a process of its own.

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const START = fileURLToPath(new URL('../../sidecar/bin/start.mjs', import.meta.url));

const started: ChildProcess[] = [];
afterEach(async () => {
  for (const child of started.splice(0))
    if (child.exitCode === null && child.signalCode === null) await ended(child, 'SIGTERM');
});

function start(
  env: Record<string, string>,
  args: string[] = [],
  [command, before]: [string, string[]] = [process.execPath, [START]],
) {
  const child = spawn(command, [...before, ...args], { cwd: ROOT, env: { ...process.env, ...env } });
  started.push(child);
  const output = { out: '', err: '' };
  child.stdout.on('data', (chunk) => {
    output.out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    output.err += chunk;
  });
  return { child, output };
}

function ended(child: ChildProcess, signal?: NodeJS.Signals): Promise<number | null> {
  const exit = new Promise<number | null>((resolve) => child.once('exit', resolve));
  if (signal) child.kill(signal);
  return exit;
}

/** A port that was free a moment ago, of those that no connection is given by chance (Linux: 32768 and above). */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const port = 10_000 + Math.floor(22_000 * Math.random());
    const server = createServer().listen(port, '127.0.0.1', () => server.close(() => resolve(port)));
    server.once('error', () => freePort().then(resolve, reject));
  });
}

const ports = async () => ({ PORT: `${await freePort()}`, GRPC_PORT: `${await freePort()}` });

/** Whether somebody listens there. */
const answers = (url: string) =>
  fetch(new URL('/healthz', url)).then(
    () => true,
    () => false,
  );

/** It comes within seconds, where nothing else is done. */
const WHILE_BUSY = { timeout: 120_000, interval: 100 };

/** What the printed curl line asks for. */
function curlLine(out: string): { url: string; headers: Record<string, string>; body: string } {
  const url = /curl (\S+)/.exec(out)![1]!;
  const headers = [...out.matchAll(/-H '([^:]+): ([^']+)'/g)].map(([, name, value]) => [name, value]);
  return { url, headers: Object.fromEntries(headers), body: /-d '([^']+)'/.exec(out)![1]! };
}

describe('npm start', () => {
  it('prints a curl line that gives a picture, and ends on Ctrl-C with nothing left behind', async () => {
    const env = await ports();
    const { child, output } = start(env);
    await expect.poll(() => output.out, WHILE_BUSY).toContain('Ctrl-C');
    const { url, headers, body } = curlLine(output.out);
    const response = await fetch(url, { method: 'POST', headers, body });
    expect(response.status).toBe(200);
    const { format } = await sharp(await response.arrayBuffer()).metadata();
    expect(format).toBe('png');
    expect(output.err).toMatch(/^edge: .+POST \/v1\/images\/generations 200/m);
    expect(output.err).not.toContain('apple');

    // A terminal and npm both send it.
    child.kill('SIGINT');
    expect(await ended(child, 'SIGINT')).toBe(0);
    for (const port of Object.values(env))
      await expect(fetch(`http://127.0.0.1:${port}/healthz`)).rejects.toThrow('fetch failed');
  });

  it('listens on IPv6 too, and takes its processes along when it is killed', async () => {
    const { child, output } = start({ ...(await ports()), HOST: '::1', GRPC_HOST: '::1' });
    await expect.poll(() => output.out, WHILE_BUSY).toContain('Ctrl-C');
    const { url, headers, body } = curlLine(output.out);
    expect(url).toContain('[::1]');
    expect((await fetch(url, { method: 'POST', headers, body })).status).toBe(200);
    await ended(child, 'SIGKILL');
    await expect.poll(() => answers(url), WHILE_BUSY).toBe(false);
  });

  it('says what it waited for when nothing answers', async () => {
    // The edge has to be there by then, so that there is an answer to tell of: a busy machine needs longer.
    for (const seconds of [3, 60]) {
      const env = { SIDECAR_ADDRESS: '127.0.0.1:1', LATENT_EDGE_START_TIMEOUT: `${seconds}` };
      const { child, output } = start({ ...(await ports()), ...env });
      expect(await ended(child)).toBe(1);
      expect(output.err).toMatch(
        /Not ready: waited \d+ s for .+healthz, .+127.0.0.1:1; the last answer was: ./,
      );
      if (seconds === 3 && !output.err.includes('status 503')) continue;
      expect(output.err).toMatch(new RegExp(`waited ${seconds} s .+ status 503`));
      return;
    }
  });

  it('says which port is taken', async () => {
    const { PORT, GRPC_PORT } = await ports();
    const commands = {
      PORT: `PORT=\\d+ GRPC_PORT=${GRPC_PORT} npm start\n`,
      GRPC_PORT: `PORT=${PORT} GRPC_PORT=\\d+ npm start\n`,
    };
    for (const [variable, port] of Object.entries({ PORT, GRPC_PORT })) {
      // A connection that nobody reads would keep it from closing.
      const other = createServer((socket) => socket.destroy()).listen(Number(port), '127.0.0.1');
      const { child, output } = start({ PORT, GRPC_PORT });
      expect(await ended(child)).toBe(1);
      expect(output.err).toMatch(new RegExp(`port ${port} is taken.+: ${commands[variable as 'PORT']}`));
      await new Promise((resolve) => other.close(resolve));
    }
  });

  it.each([
    [{ PORT: 'abc' }, [], /from 0 to 65535 for PORT but received "abc"/],
    [{ PORT: '99999' }, [], /for PORT but received "99999"/],
    [{ GRPC_PORT: 'abc' }, [], /for GRPC_PORT but received "abc"/],
    [{}, ['--port', '50062'], /Expected GRPC_PORT in place of --port/],
    [{ SIDECAR_ADDRESS: '127.0.0.1:1' }, ['--model', 'x'], /no arguments beside SIDECAR_ADDRESS/],
    [{ npm_lifecycle_event: 'start', npm_config_model: 'x' }, [], /Expected -- before --model/],
    [{ LATENT_EDGE_MODEL: 'foo' }, [], /Expected one of .*tiny-emoji-ldm.* for model but received "foo"/],
    [{}, ['--model', '/nonexistent'], /for --model but received "\/nonexistent": there is no such folder/],
    [{ LATENT_EDGE_MODELS: '/nonexistent' }, [], /for LATENT_EDGE_MODELS but received "\/nonexistent"/],
  ])('refuses %j %j', async (env, args, message) => {
    const { child, output } = start({ ...(await ports()), ...env }, args);
    expect(await ended(child)).toBe(1);
    expect(output.err).toMatch(message);
  });

  it('takes ports that are free where they are 0, and names both that are taken beside another', async () => {
    const { output } = start({ PORT: '0', GRPC_PORT: '0' });
    await expect.poll(() => output.out, WHILE_BUSY).toContain('Ctrl-C');
    const [, PORT] = /ready at http:\/\/127\.0\.0\.1:(\d+)/.exec(output.out)!;
    const [, GRPC_PORT] = /sidecar: grpc:\/\/127\.0\.0\.1:(\d+)/.exec(output.err)!;
    const second = start({ PORT: PORT!, GRPC_PORT: GRPC_PORT! });
    expect(await ended(second.child)).toBe(1);
    expect(second.output.err).toMatch(
      new RegExp(`already runs .+ports ${PORT} and ${GRPC_PORT} .+PORT=\\d+ GRPC_PORT=\\d+ npm start\n`),
    );
    const edge = start({ PORT: '0', SIDECAR_ADDRESS: `127.0.0.1:${GRPC_PORT}` });
    await expect.poll(() => edge.output.out, WHILE_BUSY).toContain('Ctrl-C');
    expect(edge.output.err).not.toContain('grpc://');
  });

  it('ends with npm', async () => {
    const env = await ports();
    const { child, output } = start(env, [], ['npm', ['start']]);
    await expect.poll(() => output.out, WHILE_BUSY).toContain('Ctrl-C');
    await ended(child, 'SIGTERM');
    await expect.poll(() => answers(`http://127.0.0.1:${env.PORT}`), WHILE_BUSY).toBe(false);
  });

  it('ends when the sidecar cannot start', async () => {
    const { child, output } = start({
      ...(await ports()),
      LATENT_EDGE_DEVICE: 'nothing',
    });
    expect(await ended(child)).toBe(1);
    expect(output.err).toMatch(/nothing/);
    expect(output.err).toMatch(/sidecar ended unexpectedly/);
  });
});
