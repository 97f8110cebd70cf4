import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { encodeTextPart } from '../../sidecar/engine/tensors/text.ts';
import { fixtureModel } from '../support/fixtures.ts';

// A model's weights are written over while it is loaded.

const folder = await mkdtemp(join(tmpdir(), 'changed-'));
afterAll(() => rm(folder, { recursive: true }));

it('what needs more of them is told which file, and the next request is made of what is there then', async () => {
  const dir = join(folder, 'model');
  await cp(await fixtureModel('tiny-sd15'), dir, { recursive: true });
  const engine = await Engine.open({ folders: new ModelFolders([dir]) });
  const request = { prompt: 'a boat', seeds: [1], steps: 2 };
  // Of the U-Net nothing has been read yet.
  await engine.part(encodeTextPart({ texts: ['a boat'] }));
  const name = (await readdir(join(dir, 'unet'))).find((each) => each.endsWith('.safetensors'))!;
  const file = join(dir, 'unet', name);
  await writeFile(file, await readFile(file));
  await expect(engine.generate(request)).rejects.toMatchObject({
    ...{ name: 'CheckpointError', message: expect.stringContaining(`${file} has been written to since`) },
  });
  await expect(engine.generate(request)).resolves.toHaveProperty('images.length', 1);
  await engine.dispose();
});
