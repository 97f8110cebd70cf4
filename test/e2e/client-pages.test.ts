import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Servers, startServers } from '../support/servers.ts';

// What the pages for clients tell people to type does what they say. (The pages' Python is run by hand.)

const at = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const run = promisify(execFile);
/** In the checkout, so that packages are found. */
const folder = at('test/.cache/client-pages');
const missing = ['curl', 'jq', 'bash'].filter((tool) => spawnSync(tool, ['--version']).error);

let servers: Servers;
beforeAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  servers = await startServers();
});
afterAll(() => servers.stop());

/** Blocks of a page that are for this server, with the one that is running in its place. */
function blocks(page: string, language: string): string[] {
  const all = [...readFileSync(at(page), 'utf8').matchAll(/^```(\w*)\n(.*?)^```$/gms)];
  const meant = 'http://127.0.0.1:8787';
  return all.flatMap(([, name, text]) =>
    name === language && text!.includes(meant) ? [text!.replaceAll(meant, servers.url)] : [],
  );
}

/** A folder of a page's own; each file in it has to be a picture, or JSON. */
async function check(name: string, write: (cwd: string) => Promise<void>): Promise<string[]> {
  const cwd = join(folder, name);
  mkdirSync(cwd, { recursive: true });
  await write(cwd);
  const files = readdirSync(cwd).filter((file) => !file.endsWith('.mjs'));
  for (const file of files)
    if (file.endsWith('.json')) JSON.parse(readFileSync(join(cwd, file), 'utf8'));
    else expect((await sharp(join(cwd, file)).metadata()).width, file).toBe(64);
  return files.sort();
}

it('docs/clients/openai.md', async () => {
  const files = await check('openai', async (cwd) => {
    const [program] = blocks('docs/clients/openai.md', 'js');
    writeFileSync(join(cwd, 'pictures.mjs'), program!);
    await run(process.execPath, ['pictures.mjs'], { cwd });
  });
  expect(files).toEqual([
    ...['apple.png', 'frog-0.png', 'frog-1.png', 'frog-2.png', 'frog.png', 'green.png'],
  ]);
});

describe.skipIf(missing.length > 0)(
  `in a shell${missing.length > 0 ? ` (skipped: no ${missing})` : ''}`,
  () => {
    it.each([
      [
        'docs/clients/curl.md',
        [
          'apple.png',
          'cat-7.png',
          'cat-8.png',
          'cat-9.png',
          'cats.json',
          'green.png',
          'mask.png',
          'melon.png',
        ],
      ],
      ['docs/clients/a1111.md', ['apple.png', 'reply.json']],
      ['docs/http.md', ['apple.png', 'green.webp']],
    ])('%s', async (page, expected) => {
      const refused: string[] = [];
      const files = await check(page.replaceAll('/', '-'), async (cwd) => {
        for (const block of blocks(page, 'sh')) {
          const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', block], { cwd });
          if (/"error": ?\{/.test(stdout)) refused.push(stdout.trim());
        }
      });
      expect(files).toEqual(expected);
      // The one that shows what an error looks like.
      for (const error of refused) expect(readFileSync(at(page), 'utf8')).toContain(error);
    });
  },
);
