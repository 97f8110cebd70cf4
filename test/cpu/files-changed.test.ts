import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { CheckpointError } from '../../sidecar/checkpoints/error.ts';
import { DecoderStore } from '../../sidecar/engine/decoders/store.ts';
import { Engine } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { ModelStore } from '../../sidecar/engine/store.ts';
import { encodeTextPart } from '../../sidecar/engine/tensors/text.ts';
import { openPart } from '../../sidecar/models/components.ts';
import { native } from '../../sidecar/native.ts';
import { fixtureModel } from '../support/fixtures.ts';

// A model's weights are written over while it is loaded.

/** Writes a file of weights over with what is in it. */
async function writeOver(dir: string): Promise<string> {
  const name = (await readdir(dir)).find((each) => each.endsWith('.safetensors'))!;
  const file = join(dir, name);
  await writeFile(file, await readFile(file));
  return file;
}

const folder = await mkdtemp(join(tmpdir(), 'changed-'));
afterAll(() => rm(folder, { recursive: true }));

it('what needs more of them is told which file, and the next request is made of what is there then', async () => {
  const dir = join(folder, 'model');
  await cp(await fixtureModel('tiny-sd15'), dir, { recursive: true });
  const engine = await Engine.open({ folders: new ModelFolders([dir]) });
  const request = { prompt: 'a boat', seeds: [1], steps: 2 };
  // Of the U-Net nothing has been read yet.
  await engine.part(encodeTextPart({ texts: ['a boat'] }));
  const file = await writeOver(join(dir, 'unet'));
  await expect(engine.generate(request)).rejects.toMatchObject({
    ...{ name: 'CheckpointError', message: expect.stringContaining(`${file} has been written to since`) },
  });
  await expect(engine.generate(request)).resolves.toHaveProperty('images.length', 1);
  await engine.dispose();
});

it('it is loaded anew for the next request also while others use it, who go on with what they have', async () => {
  const dir = join(folder, 'busy');
  await cp(await fixtureModel('tiny-sd15'), dir, { recursive: true });
  const device = await native().open({ device: 'cpu' });
  const store = new ModelStore(device, 2 ** 30);
  const place = { name: 'busy', dir };
  const fail = async () => {
    throw new CheckpointError('has been written to', { file: dir });
  };
  await store.use(place, [], async (old) => {
    // Of an error that is not about files that have changed, as an adapter's, nobody has to load anything anew.
    await expect(store.use(place, [], fail)).rejects.toThrow('written to');
    await store.use(place, [], async (model) => expect(model).toBe(old));

    await writeOver(join(dir, 'unet'));
    const failing = [store.use(place, [], fail), store.use(place, [], fail)];
    await Promise.all(failing.map((one) => expect(one).rejects.toThrow('written to')));
    expect(await store.open(place)).not.toBe(old);
    await store.use(place, [], async (model) => {
      expect(model).not.toBe(old);
      expect(await store.open(place)).toBe(model);
    });
    expect(store.bytes).toBe(2 * old.bytes);
  });
  expect(store.bytes).toBe((await store.open(place)).bytes);
  await store.dispose();
  await device.dispose();
});

it('so is a tiny autoencoder', async () => {
  const dir = join(folder, 'taesd');
  await cp(await fixtureModel('tiny-taesd'), dir, { recursive: true });
  const device = await native().open({ device: 'cpu' });
  const store = new DecoderStore(device);
  const component = await openPart(dir, 'taesd');
  const images = { kind: 'tiny' as const, name: 'taesd', component };
  const decode = () =>
    store.use({ images, previews: { kind: 'model' } }, ({ images }) =>
      images!.decode(new Float32Array(4 * 8 * 8), { height: 8, width: 8 }),
    );
  await store.use({ images, previews: { kind: 'model' } }, async () => {
    const file = await writeOver(dir);
    await expect(decode()).rejects.toThrow(`${file} has been written to since`);
    expect((await decode()).image).toHaveLength(3 * 64 * 64);
  });
  await store.dispose();
  await device.dispose();
});
