import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { createApp } from '../../edge/app.ts';
import { openGuard } from '../../edge/guard/guard.ts';
import { parseKeys } from '../../edge/guard/keys.ts';
import { renewKeys } from '../../edge/guard/renewed-keys.ts';
import { fakeSidecar } from '../support/fake-sidecar.ts';

const folder = mkdtempSync(join(tmpdir(), 'keys-'));
afterAll(() => rmSync(folder, { recursive: true }));

it('keys come and go with their file, without a restart', async () => {
  const file = join(folder, 'keys.json');
  const keysOf = (...names: string[]) =>
    JSON.stringify(
      names.map((name) => ({ name, sha256: createHash('sha256').update(`of-${name}`).digest('hex') })),
    );
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

  // Nobody is let in by what is half written, or has no keys at all.
  for (const [text, complaint] of [
    ['[{"name":', /^keys stay as they are: Expected a JSON list of keys in API_KEYS_FILE/],
    ['[]', /^keys stay as they are: Expected one key at least in API_KEYS_FILE/],
  ] as const) {
    writeFileSync(file, text);
    await expect.poll(() => lines.at(-1)).toMatch(complaint);
    expect([await status('ana'), await status('nobody')]).toEqual([200, 401]);
  }

  writeFileSync(file, keysOf('ben'));
  await expect.poll(() => lines.at(-1)).toBe('keys renewed');
  expect([await status('ana'), await status('ben')]).toEqual([401, 200]);
  end();
});
