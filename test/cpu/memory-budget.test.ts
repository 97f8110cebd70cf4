import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { inspect } from '../../sidecar/engine/inspect.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { fixtureModel } from '../support/fixtures.ts';

let home: string;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'latent-edge-'));
  for (const name of ['one', 'two'])
    await cp(await fixtureModel('tiny-sd15'), join(home, name), { recursive: true, dereference: true });
});
afterAll(() => rm(home, { recursive: true }));

const loadedIn = async (engine: Engine) =>
  (await engine.models()).filter(({ loaded }) => loaded).map(({ name }) => name);
const generate = (engine: Engine, model: string) =>
  engine.generate({ model, prompt: 'x', width: 64, height: 64, steps: 1, seeds: [1] });

it('unloads the older of two models when there is room for one, and brings it back', async () => {
  const { memoryBytes } = await inspect(join(home, 'one'));
  const folders = new ModelFolders([home]);
  const engine = await Engine.open({ folders, memoryBudget: 1.5 * memoryBytes });
  const first = await generate(engine, 'one');
  const weights = engine.info().devices[0]!.weightsBytes;
  expect(await loadedIn(engine)).toEqual(['one']);
  await generate(engine, 'two');
  expect(await loadedIn(engine)).toEqual(['two']);
  expect(engine.info().devices[0]!.weightsBytes).toBe(weights);
  const third = await generate(engine, 'one');
  expect(await loadedIn(engine)).toEqual(['one']);
  expect(third.images[0]!.png.equals(first.images[0]!.png)).toBe(true);
  await engine.dispose();
});

it('keeps both where there is room', async () => {
  const { memoryBytes } = await inspect(join(home, 'one'));
  const engine = await Engine.open({ folders: new ModelFolders([home]), memoryBudget: 2 * memoryBytes });
  for (const name of ['one', 'two', 'one']) await generate(engine, name);
  expect(await loadedIn(engine)).toEqual(['one', 'two']);
  await engine.dispose();
});
