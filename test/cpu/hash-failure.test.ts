import { dirname } from 'node:path';
import { afterAll, expect, it, vi } from 'vitest';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { fixtureModel } from '../support/fixtures.ts';

// The files of this folder share a process, and what they have imported.
vi.resetModules();
vi.doMock('../../sidecar/checkpoints/hash.ts', async (original) => ({
  ...(await original<object>()),
  modelHash: () => Promise.reject(new Error('EIO: i/o error')),
}));
afterAll(() => {
  vi.doUnmock('../../sidecar/checkpoints/hash.ts');
  vi.resetModules();
});

it('images are not lost where the files cannot be hashed', async () => {
  const dir = await fixtureModel('tiny-sd15');
  const { Engine } = await import('../../sidecar/engine/engine.ts');
  const engine = await Engine.open({ folders: new ModelFolders([dirname(dir)]) });
  const request = { model: 'tiny-sd15', prompt: 'x', width: 64, height: 64, steps: 1, seeds: [1] };
  const { images, effective, timings } = await engine.generate(request);
  await engine.dispose();
  expect(images).toHaveLength(1);
  expect(effective.modelHash).toBe('');
  expect(images[0]!.file.includes('Model hash')).toBe(false);
  for (const ms of Object.values(timings)) expect(ms).toBeGreaterThan(0);
});
