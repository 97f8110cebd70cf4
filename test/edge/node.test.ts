import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { readSettings } from '../../edge/config.ts';
import { findKey, parseKeys } from '../../edge/guard/keys.ts';
import { fakeSidecar } from '../support/fake-sidecar.ts';
import { nodeRuntime } from '../support/runtimes.ts';

/** Bytes: more than a connection holds of what is not read. */
const LARGE = 4 * 2 ** 20;

describe('the server on Node', () => {
  it('answers to names of loopback and to those it is told, against DNS rebinding', async () => {
    const edge = await nodeRuntime.start({ ALLOWED_HOSTS: 'Images.example' });
    const status = (host: string) =>
      new Promise((resolve, reject) => {
        request(`${edge.url}/v1/models`, { headers: { host } }, (response) => {
          response.resume();
          resolve(response.statusCode);
        })
          .on('error', reject)
          .end();
      });
    const { port } = new URL(edge.url);
    for (const host of ['localhost', '127.0.0.1', '192.168.0.7', '[::1]', 'a.localhost', 'images.example'])
      expect([host, await status(`${host}:${port}`)]).toEqual([host, 200]);
    for (const host of [
      'evil.example',
      'localhost.evil.example',
      '127.0.0.1.evil.example',
      'images.example.evil',
    ])
      expect([host, await status(host)]).toEqual([host, 403]);
    await edge.stop();
  });

  it('gives up a request that takes too long to arrive', async () => {
    const edge = await nodeRuntime.start({ ARRIVAL_MS: '500' });
    const sidecar = edge.use(fakeSidecar());
    const head =
      'POST /v1/images/generations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n';
    for (const begun of [head, `${head}content-length: 99\r\n\r\n{"prompt": "x"`]) {
      const socket = connect(Number(new URL(edge.url).port), '127.0.0.1');
      let reply = '';
      socket.on('data', (chunk) => {
        reply += chunk;
      });
      socket.write(begun);
      await new Promise((resolve) => socket.on('close', resolve));
      expect(reply).toMatch(/^HTTP\/1.1 408/);
    }
    expect(sidecar.requests).toEqual([]);
    // In time, unless this machine is very busy.
    await expect.poll(async () => (await edge.fetch('/healthz')).status, { timeout: 20_000 }).toBe(200);
    await edge.stop();
  });

  it.each([
    ['says its length', `content-length: ${LARGE}`],
    ['does not', 'transfer-encoding: chunked'],
  ])('refuses a body that is sent to its end before anything is read, and %s', async (_, header) => {
    const edge = await nodeRuntime.start({ MAX_BODY_BYTES: '60000' });
    const socket = connect(Number(new URL(edge.url).port), '127.0.0.1').pause();
    const failed = new Promise<never>((_, reject) => socket.on('error', reject));
    // It is waited for below.
    failed.catch(() => {});
    let reply = '';
    socket.on('data', (chunk) => {
      reply += chunk;
    });
    socket.pause();
    socket.write(
      `POST /v1/images/generations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n${header}\r\n\r\n`,
    );
    if (header.endsWith('chunked')) socket.write(`${LARGE.toString(16)}\r\n`);
    const body = Buffer.alloc(LARGE, ' ');
    await Promise.race([new Promise((resolve) => socket.write(body, resolve)), failed]);
    if (header.endsWith('chunked')) socket.write('\r\n0\r\n\r\n');
    const closed = new Promise((resolve) => socket.on('close', resolve));
    socket.resume();
    await Promise.race([closed, failed]);
    expect(reply).toMatch(/^HTTP\/1.1 413/);
    await edge.stop();
  });

  it('lets who sends a refused body slowly send it to its end', async () => {
    const edge = await nodeRuntime.start({ MAX_BODY_BYTES: '60000' });
    const socket = connect(Number(new URL(edge.url).port), '127.0.0.1');
    let reply = '';
    socket.on('data', (chunk) => {
      reply += chunk;
    });
    const closed = new Promise<boolean>((resolve) => socket.on('close', resolve).on('error', () => {}));
    socket.write(
      'POST /v1/images/generations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 80000\r\n\r\n',
    );
    // The other end has long said all and ended its side when the last of it goes.
    const halfOpen = socket as Socket & { allowHalfOpen: boolean };
    halfOpen.allowHalfOpen = true;
    for (let i = 0; i < 8; i++) {
      socket.write(Buffer.alloc(10_000, ' '));
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    socket.end();
    expect(await closed).toBe(false);
    expect(reply).toMatch(/^HTTP\/1.1 413/);
    await edge.stop();
  });

  it('closes a connection after a stream where the client wants that', async () => {
    const edge = await nodeRuntime.start();
    edge.use(fakeSidecar());
    const body = JSON.stringify({ prompt: 'x', stream: true });
    const socket = connect(Number(new URL(edge.url).port), '127.0.0.1');
    let reply = '';
    socket.on('data', (chunk) => {
      reply += chunk;
    });
    socket.write(
      `POST /v1/images/generations HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    // Kept alive it would be for 75 s, longer than a test may take.
    await new Promise((resolve) => socket.on('close', resolve));
    expect(reply).toMatch(/^HTTP\/1.1 200/);
    expect(reply).toMatch(/^connection: close\r$/im);
    expect(reply).toContain('event: image_generation.completed');
    await edge.stop();
  });
});

describe('settings', () => {
  it.each([
    [{ REQUEST_TIMEOUT_SECONDS: '1e3' }, 'a whole number from 0 to 86400 for REQUEST_TIMEOUT_SECONDS'],
    [{ API_KEYS: 'abc' }, 'a JSON list of keys in API_KEYS'],
    [{ WEBHOOK_HOSTS: 'a.example', WEBHOOK_SECRET: 'short' }, '16 characters at least for WEBHOOK_SECRET'],
    [{ WEBHOOK_HOSTS: 'a.example', WEBHOOK_SECRET: 'whsec_no base64 of bytes' }, 'base64 of 24 to 64 bytes'],
    [{ API_KEYS: '[{"name": "a"}]' }, '0.sha256'],
    [{ API_KEYS: `[{"name": "a", "sha256": "${'A'.repeat(64)}"}]` }, '64 hexadecimal digits'],
    [{ API_KEYS: `[{"name": "a", "sha256": "${'0'.repeat(64)}", "scope": "read"}]` }, 'scope'],
    [{ API_KEYS: `[${Array(2).fill(`{"name": "a", "sha256": "${'0'.repeat(64)}"}`)}]` }, 'a twice'],
  ])('says what is wrong: %o', (env, message) => {
    expect(() => readSettings(env)).toThrow(message);
  });

  it('asks any name to be known only where no key is', () => {
    expect(readSettings({}).guard.allowedHosts).toEqual([]);
    const API_KEYS = JSON.stringify([{ name: 'a', sha256: '0'.repeat(64) }]);
    expect(readSettings({ API_KEYS }).guard.allowedHosts).toBeUndefined();
    expect(readSettings({ API_KEYS, ALLOWED_HOSTS: 'x' }).guard.allowedHosts).toEqual(['x']);
  });
});

// Each starts a process or more.
describe('npm run keys', { timeout: 120_000 }, () => {
  const script = fileURLToPath(new URL('../../edge/bin/keys.mjs', import.meta.url));
  const keys = (...args: string[]) => spawnSync(process.execPath, [script, ...args], { encoding: 'utf8' });

  it('makes keys that the edge knows, and keeps their hashes', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'keys-'));
    const file = join(folder, 'keys.json');
    const made = ['ana', 'bob'].map((name) => keys(name, '--file', file, '--requests-per-minute', '9'));
    const shown = made.map(({ stdout }) => stdout.trim());
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const text = readFileSync(file, 'utf8');
    for (const key of shown) expect(text).not.toContain(key);
    const all = parseKeys(text, file);
    expect((await findKey(all, shown[1]!))?.name).toBe('bob');
    expect(await findKey(all, `${shown[1]}x`)).toBeUndefined();
    expect(all[0]).toMatchObject({ scopes: ['generate'], requests_per_minute: 9 });
    expect(keys('ana', '--file', file).status).toBe(2);
    rmSync(folder, { recursive: true });
  });

  it('shows what to set where there is no file, and says what it expected', () => {
    const { stdout, stderr } = keys('ana', '--scopes', 'read');
    expect(stdout).toMatch(/^le_[\w-]{43}\n$/);
    expect(parseKeys(/API_KEYS='(.*)'/.exec(stderr)![1]!, 'it')).toMatchObject([
      { name: 'ana', scopes: ['read'] },
    ]);
    for (const args of [[], ['a b'], ['a', '--scopes', 'all'], ['a', '--requests-per-minute', '0']])
      expect(keys(...args)).toMatchObject({ status: 2, stderr: expect.stringMatching(/^Expected/) });
  });
});
