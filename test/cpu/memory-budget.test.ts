import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { inspect } from '../../sidecar/engine/inspect.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { Programs } from '../../sidecar/engine/programs.ts';
import { toServiceError } from '../../sidecar/errors.ts';
import { fixtureModel } from '../support/fixtures.ts';

let home: string;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'latent-edge-'));
  for (const name of ['one', 'two'])
    await cp(await fixtureModel('tiny-sd15'), join(home, name), { recursive: true, dereference: true });
});
afterAll(() => rm(home, { recursive: true }));
afterEach(() => {
  vi.restoreAllMocks();
});

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
  expect(third.images[0]!.file.equals(first.images[0]!.file)).toBe(true);
  await engine.dispose();
});

it('keeps both where there is room', async () => {
  const { memoryBytes } = await inspect(join(home, 'one'));
  const engine = await Engine.open({ folders: new ModelFolders([home]), memoryBudget: 2 * memoryBytes });
  for (const name of ['one', 'two', 'one']) await generate(engine, name);
  expect(await loadedIn(engine)).toEqual(['one', 'two']);
  await engine.dispose();
});

it('keeps a model over the budget for the next request', async () => {
  const engine = await Engine.open({ folders: new ModelFolders([home]), memoryBudget: 1 });
  await generate(engine, 'one');
  expect(await loadedIn(engine)).toEqual(['one']);
  await generate(engine, 'two');
  expect(await loadedIn(engine)).toEqual(['two']);
  await engine.dispose();
});

it('refuses what can never fit before the first step, and says what it would take', async () => {
  const memoryLimit = 64 * 2 ** 20;
  const engine = await Engine.open({ folders: new ModelFolders([home]), memoryLimit });
  const request = { model: 'one', prompt: 'x', steps: 1, seeds: [1] };
  let steps = 0;
  const options = { onProgress: () => void steps++ };
  await expect(engine.generate({ ...request, width: 2048, height: 2048 }, options)).rejects.toMatchObject({
    code: 'out_of_memory',
    retryAfterMs: undefined,
    message: expect.stringMatching(
      /0\.0671 GB of memory .+ing 2048x2048 takes [0-9.]+ GB beside the [0-9.]+ GB/,
    ),
  });
  const hires = { ...request, width: 512, height: 512, hiresScale: 4 };
  await expect(engine.generate(hires, options)).rejects.toMatchObject({ code: 'out_of_memory' });
  expect(steps).toBe(0);
  expect((await engine.generate({ ...request, width: 64, height: 64 })).images).toHaveLength(1);
  await engine.dispose();
});

it('fails one request alone where memory is short, and frees what nobody uses', async () => {
  const engine = await Engine.open({ folders: new ModelFolders([home]) });
  const names = ['one', 'two'];
  const expected = [];
  for (const name of names) expected.push((await generate(engine, name)).images);
  const outOfMemory = Object.assign(new Error('none left'), { code: 'ERR_OUT_OF_MEMORY' });
  vi.spyOn(Programs.prototype, 'run').mockRejectedValueOnce(outOfMemory);
  const results = await Promise.allSettled(names.map((name) => generate(engine, name)));
  const failed = results.findIndex(({ status }) => status === 'rejected');
  const other = 1 - failed;
  expect(results[failed]).toMatchObject({ reason: outOfMemory });
  expect(toServiceError(outOfMemory)).toMatchObject({ code: 'out_of_memory', retryAfterMs: 5000 });
  expect(results[other]).toMatchObject({ value: { images: expected[other] } });
  // The model of the one that failed is used by nobody.
  await expect.poll(() => loadedIn(engine)).toEqual([names[other]]);
  expect((await generate(engine, names[failed]!)).images).toEqual(expected[failed]);
  await engine.dispose();
});
