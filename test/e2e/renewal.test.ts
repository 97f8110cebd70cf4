import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, expect, it } from 'vitest';
import { grpcSidecar } from '../../edge/sidecar/grpc.ts';
import { grpcWebSidecar } from '../../edge/sidecar/grpc-web.ts';
import { renewedSidecar } from '../../edge/sidecar/renewed.ts';
import { Engine } from '../../sidecar/engine/engine.ts';
import { modelFolders } from '../../sidecar/engine/roots.ts';
import { serve } from '../../sidecar/main.ts';
import { readAccess } from '../../sidecar/settings/access.ts';
import { readSettings } from '../../sidecar/settings/read.ts';
import { accessStamp, renewAccess } from '../../sidecar/settings/renewal.ts';

// Tokens and certificates follow one another without a restart, on both sides.

const [FIRST, SECOND] = ['the-first-token-of-all', 'the-second-token-of-all'];
const folder = mkdtempSync(join(tmpdir(), 'renewal-'));
afterAll(() => rmSync(folder, { recursive: true }));
const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/tls/${name}.pem`, import.meta.url));
const file = (name: string) => join(folder, name);

/**
 * A sidecar as the command starts it, which looks at its files again and again.
 * @param meanwhile what is done to them while it starts.
 */
async function start(env: Record<string, string>, meanwhile = () => {}) {
  const settings = readSettings({ env: { GRPC_PORT: '0', ...env } });
  const since = accessStamp(settings);
  const access = readAccess(settings);
  meanwhile();
  const engine = await Engine.open({ folders: await modelFolders() });
  const server = await serve(engine, { host: '127.0.0.1', port: 0, ...access });
  const lines: string[] = [];
  const end = renewAccess(settings, {
    since,
    onRenewed: (access) => server.renew(access),
    say: (line) => lines.push(line),
    everyMs: 20,
  });
  cleanUp.push(() => server.stop(1000), end);
  return { server, lines };
}

it('takes new tokens, and no old ones, at both ports', async () => {
  writeFileSync(file('tokens'), `${FIRST}\n`);
  const { server, lines } = await start({ GRPC_TOKEN_FILE: file('tokens'), GRPC_WEB_PORT: '0' });
  const [old, young] = [FIRST, SECOND].map((token) => grpcSidecar(server.address, { token }));
  const web = (token: string) =>
    grpcWebSidecar(`http://${server.webAddress}`, { headers: { authorization: `Bearer ${token}` } });
  cleanUp.push(
    () => old!.close(),
    () => young!.close(),
  );
  expect(await old!.listModels()).not.toHaveLength(0);
  await expect(young!.listModels()).rejects.toMatchObject({ code: 'sidecar_refused' });

  writeFileSync(file('tokens'), 'short');
  await expect.poll(() => lines).toEqual([expect.stringMatching(/stay as they are: Expected tokens of 16/)]);
  expect(await old!.listModels()).not.toHaveLength(0);

  writeFileSync(file('tokens'), `${SECOND}\n`);
  await expect.poll(() => lines.at(-1)).toBe('tokens and certificates renewed');
  expect(await young!.listModels()).not.toHaveLength(0);
  await expect(old!.listModels()).rejects.toMatchObject({ code: 'sidecar_refused' });
  expect(await web(SECOND).listModels()).not.toHaveLength(0);
  await expect(web(FIRST).listModels()).rejects.toThrow();
});

it('finds what is written while it starts', async () => {
  writeFileSync(file('early'), FIRST);
  const { server, lines } = await start({ GRPC_TOKEN_FILE: file('early') }, () =>
    writeFileSync(file('early'), SECOND),
  );
  await expect.poll(() => lines).toEqual(['tokens and certificates renewed']);
  const young = grpcSidecar(server.address, { token: SECOND });
  cleanUp.push(() => young.close());
  expect(await young.listModels()).not.toHaveLength(0);
});

it('shows new connections a new certificate, and waits for its key', async () => {
  copyFileSync(fixture('stranger'), file('cert'));
  copyFileSync(fixture('stranger-key'), file('key'));
  const { server, lines } = await start({ GRPC_TLS_CERT: file('cert'), GRPC_TLS_KEY: file('key') });
  const open = () => grpcSidecar(server.address, { tls: { ca: readFileSync(fixture('ca')) } });
  const before = open();
  await expect(before.listModels({ timeoutMs: 20_000 })).rejects.toMatchObject({ httpStatus: 503 });
  before.close();

  copyFileSync(fixture('server'), file('cert'));
  await expect.poll(() => lines.at(-1)).toMatch(/stay as they are: .*key values mismatch/);
  copyFileSync(fixture('server-key'), file('key'));
  await expect.poll(() => lines.at(-1)).toBe('tokens and certificates renewed');
  const after = open();
  expect(await after.listModels()).not.toHaveLength(0);
  after.close();
});

it('is shown a new token by the edge, whose calls under way go on', async () => {
  writeFileSync(file('both'), `${FIRST}\n${SECOND}\n`);
  writeFileSync(file('one'), FIRST);
  const { server } = await start({ GRPC_TOKEN_FILE: file('both') });
  const lines: string[] = [];
  const sidecar = renewedSidecar({
    files: [file('one')],
    open: () => grpcSidecar(server.address, { token: readFileSync(file('one'), 'utf8') }),
    say: (line) => lines.push(line),
    everyMs: 20,
  });
  cleanUp.push(() => sidecar.close());
  const events: string[] = [];
  for await (const { event } of sidecar.generate({ prompt: 'x', seeds: [1], steps: 30 })) {
    if (events.push(event!) !== 2) continue;
    writeFileSync(file('one'), SECOND);
    await expect.poll(() => lines).toEqual(['token and certificates for the sidecar renewed']);
  }
  expect(events.at(-1)).toBe('result');
  writeFileSync(file('both'), `${SECOND}\n`);
  await expect.poll(() => sidecar.listModels().catch(() => [])).not.toHaveLength(0);
});

it('asks callers to connect anew, and ends no call for it', async () => {
  const engine = await Engine.open({ folders: await modelFolders() });
  const server = await serve(engine, { host: '127.0.0.1', port: 0, connections: { maxAge: 1 } });
  cleanUp.push(() => server.stop(1000));
  const sidecar = grpcSidecar(server.address);
  cleanUp.push(() => sidecar.close());
  const began = Date.now();
  let results = 0;
  while (Date.now() - began < 3000 || results < 3)
    for await (const { result } of sidecar.generate({ prompt: 'x', steps: 4 })) if (result) results++;
});
