import { expect, it } from 'vitest';
import { createApp } from '../../edge/app.ts';
import { memoryCache } from '../../edge/cache/memory.ts';
import { ResultCache } from '../../edge/cache/results.ts';
import { fakeSidecar } from '../support/fake-sidecar.ts';

const store = { get: async () => undefined, put: async () => true };
const hashWith = (sidecar: ReturnType<typeof fakeSidecar>) =>
  new ResultCache(sidecar, { store, seconds: 60, shared: false }).hashOf({ prompt: 'word', seeds: [1] }, []);

it('a result is another when a learned word or a model is', async () => {
  const [word] = (await fakeSidecar().listNames()).embeddings;
  const same = await hashWith(fakeSidecar());
  expect(await hashWith(fakeSidecar())).toBe(same);
  expect(await hashWith(fakeSidecar({ embeddings: [] }))).not.toBe(same);
  expect(await hashWith(fakeSidecar({ embeddings: [{ ...word!, modifiedMs: 1 }] }))).not.toBe(same);
  const models = await fakeSidecar().listModels();
  for (const change of [{ created: 1 }, { weights: 'int8' }]) {
    const other = { ...fakeSidecar(), listModels: async () => [{ ...models[0]!, ...change }] };
    expect(await hashWith(other)).not.toBe(same);
  }
});

it('a reply says that its result is kept where it is', async () => {
  const statuses = [];
  for (const bytes of [4000, 100_000]) {
    const cache = memoryCache({ seconds: 60, bytes, shared: false });
    const response = await createApp({ sidecar: fakeSidecar(), cache }).request('/v1/images/generations', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'x', seed: 1 }),
    });
    statuses.push(response.headers.get('cache-status'), response.headers.has('content-location'));
  }
  expect(statuses).toEqual(['latent-edge; fwd=miss', false, 'latent-edge; fwd=miss; stored', true]);
});
