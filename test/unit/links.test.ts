import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { partFolder } from '../../sidecar/checkpoints/links.ts';

let root = '';
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'links-'));
  for (const folder of ['models/base/vae', 'models/twin', 'outside/vae'])
    await mkdir(join(root, folder), { recursive: true });
  await writeFile(join(root, 'models/base/vae/config.json'), '{}');
});
afterAll(() => rm(root, { recursive: true, force: true }));

const twin = () => join(root, 'models/twin');

test('a folder and a symbolic link are themselves', async () => {
  expect(await partFolder(join(root, 'models/base'), 'vae')).toBe(join(root, 'models/base/vae'));
  await symlink('../base/vae', join(twin(), 'linked'));
  expect(await partFolder(twin(), 'linked')).toBe(join(twin(), 'linked'));
});

test('a link written as text stands for its target', async () => {
  await writeFile(join(twin(), 'vae'), '../base/vae');
  expect(await partFolder(twin(), 'vae')).toBe(join(root, 'models/base/vae'));
});

test.each(['../../outside/vae', '/etc', '../base/none', '../base/vae/config.json', '../base/vae\0', ''])(
  'text that names %j is no link',
  async (target) => {
    await writeFile(join(twin(), 'bad'), target);
    expect(await partFolder(twin(), 'bad')).toBe(join(twin(), 'bad'));
  },
);
