import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { defaultsOf, readSettings } from '../../sidecar/engine/settings.ts';

let home: string;
let root: string;

async function model(dir: string, settings?: object): Promise<void> {
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, 'model_index.json'), '{}');
  if (settings) await writeFile(join(dir, 'latent-edge.json'), JSON.stringify(settings));
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'latent-edge-'));
  root = join(home, 'models');
  await model(join(root, 'b'));
  await model(join(root, 'a'));
  await mkdir(join(root, 'no-model'));
  await model(join(root, '.c.pull'));
  await model(join(home, 'outside'));
  await symlink(join(home, 'outside'), join(root, 'link'));
  await symlink(join(root, 'a'), join(root, 'alias'));
  await symlink(join(home, 'nothing'), join(root, 'broken'));
  await symlink(join(root, 'loop'), join(root, 'loop'));
  await symlink(home, join(root, 'home'));
});
afterAll(() => rm(home, { recursive: true }));

describe('ModelFolders', () => {
  it('names the models of a folder, and those that its links lead to', async () => {
    const folders = new ModelFolders([root]);
    expect((await folders.list()).map(({ name }) => name)).toEqual(['a', 'alias', 'b', 'link']);
    expect(await folders.find('link')).toEqual({ name: 'link', dir: join(root, 'link') });
  });

  it('says where in a model something is, not where the model is', async () => {
    const folders = new ModelFolders([root, join(home, 'outside')]);
    const say = (...path: string[]) => folders.withoutPaths(`Expected x, in ${join(...path)}`);
    expect(await say(root, 'a', 'unet', 'config.json')).toBe('Expected x, in a/unet/config.json');
    expect(await say(root, 'abc.safetensors')).toBe('Expected x, in abc.safetensors');
    expect(await say(root, 'loras', 'l.safetensors')).toBe('Expected x, in loras/l.safetensors');
    expect(await say(home, 'outside')).toBe('Expected x, in outside');
    expect(await say('/elsewhere')).toBe('Expected x, in /elsewhere');
  });

  it('takes a model folder itself, also through a link', async () => {
    const folders = new ModelFolders([join(root, 'link'), root]);
    expect(await folders.find('link')).toEqual({ name: 'link', dir: join(root, 'link') });
    expect(await folders.find('a')).toEqual({ name: 'a', dir: join(root, 'a') });
  });

  it('has a default: what was named, what says so itself, or the first', async () => {
    expect((await new ModelFolders([root]).find('')).name).toBe('a');
    expect((await new ModelFolders([root], 'b').find('')).name).toBe('b');
    expect((await new ModelFolders([root], join(root, 'b')).find('')).name).toBe('b');
    const other = join(home, 'other');
    await model(join(other, 'x'));
    await model(join(other, 'y'), { default: true });
    expect((await new ModelFolders([other]).find('')).name).toBe('y');
    expect((await new ModelFolders([root, other], other).find('')).name).toBe('x');
  });

  it.each([
    '../outside',
    '/etc',
    'a/../../outside',
    '..',
    '.',
    'a\0',
    '%2e%2e',
    'outside',
    'home/outside',
    'link/',
    'broken',
    'x'.repeat(4096),
  ])('has no %j', async (name) => {
    await expect(new ModelFolders([root]).find(name)).rejects.toMatchObject({
      code: 'model_not_found',
      field: 'model',
    });
  });

  it('says so when there is none', async () => {
    await expect(new ModelFolders([join(home, 'nothing')]).find('')).rejects.toMatchObject({
      code: 'model_not_found',
    });
  });
});

describe('readSettings', () => {
  it('has defaults, and names what is wrong', async () => {
    const defaults = await readSettings(join(root, 'a'));
    expect(defaults).toMatchObject({ sampler: '' });
    expect(defaultsOf(defaults, 'sd1', false)).toEqual({ steps: 50, guidanceScale: 7.5 });
    expect(defaultsOf(defaults, 'sdxl', false)).toEqual({ steps: 50, guidanceScale: 5 });
    expect(defaultsOf(defaults, 'sdxl', true)).toEqual({ steps: 1, guidanceScale: 1 });
    const dir = join(home, 'settings');
    await model(dir, { steps: 4, guidance_scale: 0, sampler: 'euler' });
    const own = await readSettings(dir);
    expect(own).toMatchObject({ steps: 4, guidance_scale: 0, sampler: 'euler' });
    expect(defaultsOf(own, 'sd2', true)).toEqual({ steps: 4, guidanceScale: 0 });
    await model(dir, { steps: 0 });
    await expect(readSettings(dir)).rejects.toThrow(
      /^Expected at least 1 for steps but received 0, in .+latent-edge\.json$/,
    );
    await model(dir, { stepz: 1 });
    await expect(readSettings(dir)).rejects.toThrow(/stepz/);
  });
});
