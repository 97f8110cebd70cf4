import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { createApp } from '../../edge/app.ts';
import { openGuard } from '../../edge/guard/guard.ts';
import { parseKeys } from '../../edge/guard/keys.ts';
import { NO_KEYS, renewKeys, withKeysFile } from '../../edge/guard/renewed-keys.ts';
import { stampOf } from '../../proto/renewal.ts';
import { fakeSidecar } from '../support/fake-sidecar.ts';

const folder = mkdtempSync(join(tmpdir(), 'keys-'));
afterAll(() => rmSync(folder, { recursive: true }));

const keysOf = (...names: string[]) =>
  JSON.stringify(
    names.map((name) => ({ name, sha256: createHash('sha256').update(`of-${name}`).digest('hex') })),
  );

it('keys come and go with their file, without a restart', async () => {
  const file = join(folder, 'keys.json');
  writeFileSync(file, keysOf('ana'));
  const guard = { ...openGuard, keys: parseKeys(keysOf('ana'), 'API_KEYS') };
  const lines: string[] = [];
  const end = renewKeys(guard, { file, say: (line) => lines.push(line), everyMs: 10 });
  const app = createApp({ sidecar: fakeSidecar(), guard });
  const status = async (name: string) => {
    const headers = { authorization: `Bearer of-${name}` };
    return (await app.request('/v1/models', { headers })).status;
  };
  expect([await status('ana'), await status('ben')]).toEqual([200, 401]);

  writeFileSync(file, keysOf('ana', 'ben'));
  await expect.poll(() => lines).toEqual(['keys renewed']);
  expect([await status('ana'), await status('ben')]).toEqual([200, 200]);

  // What is half written changes nothing.
  for (const text of ['', '[{"name":']) {
    writeFileSync(file, text);
    await expect
      .poll(() => lines.at(-1))
      .toMatch(/^keys stay as they are: Expected a JSON list of keys in API_KEYS_FILE/);
    expect([await status('ana'), await status('nobody')]).toEqual([200, 401]);
  }

  // The last key is withdrawn: nobody is let in any more.
  writeFileSync(file, '[]');
  await expect.poll(() => lines.slice(-2)).toEqual([NO_KEYS, 'keys renewed']);
  expect([await status('ana'), await status('nobody')]).toEqual([401, 401]);

  writeFileSync(file, keysOf('ben'));
  await expect.poll(() => status('ben')).toBe(200);
  expect(await status('ana')).toBe(401);
  end();
});

it('a file without keys lets nobody in from the start, whoever calls by whatever name', async () => {
  const file = join(folder, 'none.json');
  writeFileSync(file, '[]');
  const guard = withKeysFile(openGuard, file);
  expect(guard).toMatchObject({ keys: undefined, allowedHosts: undefined });
  const app = createApp({ sidecar: fakeSidecar(), guard });
  const response = await app.request('http://images.example/v1/models');
  expect([response.status, await response.json()]).toMatchObject([401, { error: { code: 'no_api_keys' } }]);
});

it('what is written between the reading and the first look is found', async () => {
  const file = join(folder, 'early.json');
  writeFileSync(file, keysOf('ana'));
  const since = stampOf([file]);
  const guard = withKeysFile({ ...openGuard }, file);
  writeFileSync(file, keysOf('ben'));
  const end = renewKeys(guard, { file, since, say: () => {}, everyMs: 10 });
  await expect.poll(() => guard.keys?.map(({ name }) => name)).toEqual(['ben']);
  end();
});
