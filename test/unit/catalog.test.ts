import { cp, mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { describeAll } from '../../sidecar/engine/catalog.ts';
import { hashOf } from '../../sidecar/engine/inspect.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { modelStamp } from '../../sidecar/engine/model-stamp.ts';
import { OpenModel } from '../../sidecar/engine/open-model.ts';
import { fixtureModel } from '../support/fixtures.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'latent-edge-catalog-'));
});
afterAll(() => rm(root, { recursive: true }));

test('a model is opened for a listing when its files have changed, and only then', async () => {
  const dir = join(root, 'models', 'tiny');
  await cp(await fixtureModel('tiny-ldm-uncond'), dir, { recursive: true, dereference: true });
  const folders = new ModelFolders([join(root, 'models')]);
  const open = vi.spyOn(OpenModel, 'open');
  const [first] = await describeAll(folders);
  expect(first).toMatchObject({ name: 'tiny', family: 'ldm', steps: 50, loaded: false, isDefault: true });
  expect(await describeAll(folders, () => true)).toEqual([{ ...first, loaded: true }]);
  expect(open).toHaveBeenCalledTimes(1);
  expect(await describeAll(folders, undefined, 'int8')).toEqual([{ ...first, weights: 'int8' }]);
  expect(await describeAll(folders)).toEqual([first]);
  open.mockClear();

  await writeFile(join(dir, 'latent-edge.json'), JSON.stringify({ steps: 7 }));
  expect(await describeAll(folders)).toEqual([{ ...first, steps: 7 }]);
  expect(open).toHaveBeenCalledTimes(1);

  await writeFile(join(dir, 'unet', 'config.json'), '{}');
  expect(await describeAll(folders)).toEqual([]);
  open.mockRestore();
});

test('what a server keeps whole is listed so, whatever it does with others', async () => {
  const home = join(root, 'kept');
  await mkdir(join(home, 'controlnets'), { recursive: true });
  for (const name of ['tiny-sd15', 'tiny-taesd']) await symlink(await fixtureModel(name), join(home, name));
  await symlink(await fixtureModel('tiny-controlnet-sd15-canny'), join(home, 'controlnets', 'canny'));
  const folders = new ModelFolders([home]);
  const kept = async (weights?: 'int8') =>
    Object.fromEntries(
      (await describeAll(folders, undefined, weights)).map((one) => [one.kind, one.weights]),
    );
  expect(await kept()).toEqual({ 'latent-diffusion': 'file', controlnet: 'file', autoencoder: 'file' });
  expect(await kept('int8')).toEqual({ 'latent-diffusion': 'int8', controlnet: 'int8', autoencoder: 'file' });
});

test('a listing has the hash of a model once it has been computed, until its files change', async () => {
  vi.stubEnv('XDG_CACHE_HOME', join(root, 'cache'));
  try {
    const dir = join(root, 'hashed', 'tiny');
    await cp(await fixtureModel('tiny-ldm-uncond'), dir, { recursive: true, dereference: true });
    const hash = async () => (await describeAll(new ModelFolders([join(root, 'hashed')])))[0]!.modelHash;
    expect(await hash()).toBe('');
    const computed = await hashOf(dir);
    expect(computed).toMatch(/^[0-9a-f]{64}$/);
    expect(await hash()).toBe(computed);
    const kept = await describeAll(new ModelFolders([join(root, 'hashed')]), undefined, 'int8');
    expect(kept[0]!.modelHash).toBe('');
    const weights = join(dir, 'unet', 'diffusion_pytorch_model.safetensors');
    await utimes(weights, 1, 1);
    expect(await hash()).toBe('');
  } finally {
    vi.unstubAllEnvs();
  }
});

test("a model's stamp is of its parts' files, wherever links lead, and of the settings beside a file", async () => {
  const [model, other] = [join(root, 'linked'), join(root, 'other', 'unet')];
  await mkdir(model);
  await mkdir(other, { recursive: true });
  await writeFile(join(model, 'model_index.json'), '{}');
  await symlink(other, join(model, 'unet'));
  // As git writes a link where there are none.
  await writeFile(join(model, 'vae'), '../other/unet');
  const file = join(root, 'one.safetensors');
  await writeFile(file, 'x');
  const stamps = async () => [await modelStamp(model), await modelStamp(file)];
  const [folder, one] = await stamps();
  expect(await stamps()).toEqual([folder, one]);

  await writeFile(join(other, 'config.json'), '{}');
  const [changed] = await stamps();
  expect(changed!.split('\n').filter((line) => line.startsWith('config.json'))).toHaveLength(2);

  await writeFile(join(root, 'one.latent-edge.json'), '{"steps": 1}');
  expect((await stamps())[1]).not.toBe(one);
  await writeFile(join(root, 'one.latent-edge.json'), '{"checkpoint": {"parts_from": "linked"}}');
  expect(await stamps()).toEqual([changed, undefined]);
});
