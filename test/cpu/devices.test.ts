import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';

// Several workers on one CPU: an image does not depend on which of them made it, nor on how many threads that has.

const folder = (name: string) => fileURLToPath(new URL(`../../models/${name}`, import.meta.url));
const models = ['tiny-emoji-ldm', 'tiny-emoji-turbo'];
const open = (options: object) =>
  Engine.open({ folders: new ModelFolders(models.map(folder)), queueLimit: 64, ...options });

let one: Engine;
let several: Engine;
beforeAll(async () => {
  [one, several] = await Promise.all([
    open({ device: 'cpu', threads: 1 }),
    // Of two threads and of one.
    open({ device: 'cpu*2', threads: 3, concurrency: 2 }),
  ]);
});
afterAll(() => Promise.all([one.dispose(), several.dispose()]));

async function imagesOf(engine: Engine, requests: readonly object[]) {
  const results = await Promise.all(requests.map((request) => engine.generate({ ...request })));
  return results.map(({ images }) => images.map(({ file }) => file.toString('base64')));
}

const long = (seed: number) => ({ model: 'tiny-emoji-ldm', prompt: 'red apple', seeds: [seed], steps: 3 });
const short = (seed: number) => ({ model: 'tiny-emoji-turbo', prompt: 'cat face', seeds: [seed] });

describe('two workers', () => {
  it('are two devices, with threads and memory of their own', () => {
    const { devices } = several.info();
    expect(devices.map(({ id, threads }) => [id, threads])).toEqual([
      ['cpu:0', 2],
      ['cpu:1', 1],
    ]);
    expect(devices[0]!.memoryTotal).toBe(one.info().devices[0]!.memoryTotal / 2);
    expect(several.memory().map(({ device }) => device)).toEqual(['cpu:0', 'cpu:1']);
  });

  it('make the images that one makes, bit for bit, of requests that wait together', async () => {
    const requests = Array.from({ length: 9 }, (_, i) => (i % 3 === 0 ? short(i) : long(i)));
    const expected = await imagesOf(one, requests);
    expect(await imagesOf(several, requests)).toEqual(expected);
    // Both had a part in it.
    for (const { weightsBytes } of several.info().devices) expect(weightsBytes).toBeGreaterThan(0);
    expect(several.info()).toMatchObject({ running: 0, queued: 0 });
  });

  it('keep each a model, where nobody waits', async () => {
    const quiet = await open({ device: 'cpu*2', threads: 2 });
    for (let i = 0; i < 3; i++) await imagesOf(quiet, [long(i)]);
    const [first, second] = quiet.info().devices;
    expect(first!.weightsBytes).toBeGreaterThan(0);
    expect(second!.weightsBytes).toBe(0);
    await quiet.dispose();
  });

  it('are both warm after preload', async () => {
    const warm = await open({ device: 'cpu*2', threads: 2 });
    const told: string[] = [];
    warm.watch({ waited: () => told.push('waited'), stepped: () => told.push('stepped') });
    await warm.preload();
    // What callers wait for, and no more.
    expect([warm.info().stepsRun, told]).toEqual([2, []]);
    for (const { weightsBytes } of warm.info().devices) expect(weightsBytes).toBeGreaterThan(0);
    await warm.dispose();
  });
});
