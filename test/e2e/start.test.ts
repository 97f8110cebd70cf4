import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { afterEach, describe, expect, it } from 'vitest';

// npm start, as a process of its own.

const START = fileURLToPath(new URL('../../sidecar/bin/start.mjs', import.meta.url));

const started: ChildProcess[] = [];
afterEach(async () => {
  for (const child of started.splice(0))
    if (child.exitCode === null && child.signalCode === null) await ended(child, 'SIGTERM');
});

function start(env: Record<string, string>) {
  const child = spawn(process.execPath, [START], { env: { ...process.env, ...env } });
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

/** A port that was free a moment ago. */
function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

const ports = async () => ({ PORT: `${await freePort()}`, GRPC_PORT: `${await freePort()}` });

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
    await expect.poll(() => output.out, { timeout: 60_000, interval: 100 }).toContain('Ctrl-C');
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

  it('says which port is taken', async () => {
    const { PORT, GRPC_PORT } = await ports();
    for (const [variable, port] of Object.entries({ PORT, GRPC_PORT })) {
      const other = createServer().listen(Number(port), '127.0.0.1');
      const { child, output } = start({ PORT, GRPC_PORT });
      expect(await ended(child)).toBe(1);
      expect(output.err).toMatch(new RegExp(`port ${port} is taken.+${variable}=`));
      await new Promise((resolve) => other.close(resolve));
    }
  });

  it('ends when the sidecar cannot start', async () => {
    const { child, output } = start({
      ...(await ports()),
      LATENT_EDGE_MODEL: 'nowhere',
      LATENT_EDGE_DEVICE: 'nothing',
    });
    expect(await ended(child)).toBe(1);
    expect(output.err).toMatch(/nothing/);
    expect(output.err).toMatch(/sidecar ended unexpectedly/);
  });

  it('takes its processes along when it is killed', async () => {
    const env = await ports();
    const { child, output } = start(env);
    await expect.poll(() => output.out, { timeout: 60_000, interval: 100 }).toContain('Ctrl-C');
    await ended(child, 'SIGKILL');
    const answers = () =>
      fetch(`http://127.0.0.1:${env.PORT}/healthz`).then(
        () => true,
        () => false,
      );
    await expect.poll(answers, { timeout: 10_000, interval: 100 }).toBe(false);
  });
});
