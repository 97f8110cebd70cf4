import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { snippet } from '../../edge/playground/client/snippets.ts';
import type { Body } from '../../edge/playground/client/types.ts';

const server = { origin: 'http://127.0.0.1:8787', withKey: false };
const file = Buffer.from('a picture').toString('base64');
const url = `data:image/png;base64,${file}`;
const body: Body = {
  prompt: 'it\'s $HOME, `pwd`, \\n and "quotes"\nü',
  negative_prompt: undefined,
  keep_unmasked: true,
  init_image: url,
  control: [{ model: 'canny', image: url, scale: 0.5 }],
};
const sent = {
  prompt: body.prompt,
  keep_unmasked: true,
  init_image: file,
  control: [{ model: 'canny', image: file, scale: 0.5 }],
};

test('a shell sends what was asked for, files read', () => {
  const { code, files } = snippet('curl', body, server);
  expect([...files]).toEqual([
    ['init-image.png', url],
    ['control-0-image.png', url],
  ]);
  const folder = mkdtempSync(join(tmpdir(), 'snippet-'));
  for (const name of files.keys()) writeFileSync(join(folder, name), 'a picture');
  // What curl would get from the here-document.
  const out = execFileSync('sh', ['-c', `curl() { cat; }\n${code}`], { cwd: folder, encoding: 'utf8' });
  rmSync(folder, { recursive: true });
  expect(JSON.parse(out)).toEqual(sent);
});

test('JavaScript sends the same', async () => {
  const { code } = snippet('javascript', body, server);
  const argument = /images\.generate\((.*?)\);\nmade/s.exec(code)![1]!;
  const evaluate = new Function('readFileSync', `return (${argument})`);
  expect(evaluate(() => file)).toEqual(sent);
});

test('Python has OpenAI’s own fields as arguments, the others beside them', () => {
  const { code } = snippet('python', { ...body, n: 2 }, server);
  expect(code).toMatch(/^ {4}prompt="it's \$HOME.*",\n {4}n=2,\n {4}extra_body=\{\n/m);
  expect(code).toContain('"keep_unmasked": True,');
  expect(code).toContain('open("control-0-image.png", "rb")');
});

test('a key is read from the environment', () => {
  expect(snippet('curl', body, { ...server, withKey: true }).code).toContain('Bearer $LATENT_EDGE_KEY"');
});
