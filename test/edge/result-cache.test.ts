import { expect, it } from 'vitest';
import { ResultCache } from '../../edge/cache/results.ts';
import { fakeSidecar } from '../support/fake-sidecar.ts';

const store = { get: async () => undefined, put: async () => {} };
const hashWith = (sidecar: ReturnType<typeof fakeSidecar>) =>
  new ResultCache(sidecar, { store, seconds: 60, shared: false }).hashOf({ prompt: 'word', seeds: [1] }, []);

it('a result is another when a learned word or a model is', async () => {
  const [word] = (await fakeSidecar().listNames()).embeddings;
  const same = await hashWith(fakeSidecar());
  expect(await hashWith(fakeSidecar())).toBe(same);
  expect(await hashWith(fakeSidecar({ embeddings: [] }))).not.toBe(same);
  expect(await hashWith(fakeSidecar({ embeddings: [{ ...word!, modifiedMs: 1 }] }))).not.toBe(same);
  const models = await fakeSidecar().listModels();
  const newer = { ...fakeSidecar(), listModels: async () => [{ ...models[0]!, created: 1 }] };
  expect(await hashWith(newer)).not.toBe(same);
});
