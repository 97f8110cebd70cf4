import { cp, mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { fixtureModel } from '../support/fixtures.ts';
import { type Servers, startServers } from '../support/servers.ts';

// What cannot be served has its own status, streamed or not.

const WEIGHTS = join('vae', 'diffusion_pytorch_model.safetensors');

let home: string;
let servers: Servers;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'latent-edge-'));
  for (const name of ['cut', 'whole'])
    await cp(await fixtureModel('tiny-sd15'), join(home, name), { recursive: true, dereference: true });
  await truncate(join(home, 'cut', WEIGHTS), 1000);
  servers = await startServers({ folders: new ModelFolders([home], 'whole'), concurrency: 1 });
});
afterAll(async () => {
  await servers.stop();
  await rm(home, { recursive: true });
});

const post = (body: object) =>
  fetch(`${servers.url}/v1/images/generations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'x', size: '64x64', steps: 1, ...body }),
  });

it.each([
  ['a sampler', { sampler: 'nope' }, 400, 'sampler'],
  ['a schedule', { sampler: 'ddim', schedule: 'karras' }, 400, 'schedule'],
  ['layers', { clip_skip: 11 }, 400, 'clip_skip'],
  ['steps', { sampler: 'lcm', steps: 1000 }, 400, 'steps'],
  ['a model', { model: 'nope' }, 404, 'model'],
  ['an adapter', { loras: [{ name: 'nope' }] }, 404, 'loras'],
  ['a damaged model', { model: 'cut' }, 422, null],
])('%s, before the work that is ahead is done', async (_, body, status, param) => {
  const leave = new AbortController();
  const ahead = servers.sidecar
    .generate({ model: 'whole', prompt: 'x', steps: 500 }, { signal: leave.signal })
    [Symbol.asyncIterator]();
  await ahead.next();
  for (const stream of [false, true]) {
    const response = await post({ ...body, stream });
    expect([stream, response.status]).toEqual([stream, status]);
    const { error } = await response.json();
    expect(error.param).toBe(param);
    expect(error.message).not.toContain(home);
  }
  leave.abort();
  await ahead.next().catch(() => {});
});

it('names the file of a damaged model by its place in it; the log has all of it', async () => {
  const { error } = await (await post({ model: 'cut' })).json();
  expect(error.message).toMatch(new RegExp(`in ${join('cut', WEIGHTS)}$`));
  const logged = servers.calls.findLast(({ code }) => code === 'checkpoint_unusable')!;
  expect(logged.error!.message).toContain(join(home, 'cut', WEIGHTS));
  const { data } = await (await fetch(`${servers.url}/v1/models`)).json();
  expect(data.map(({ id }: { id: string }) => id)).toEqual(['whole']);
});
