import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { modelHash } from '../../sidecar/checkpoints/hash.ts';
import { inEightBits, loadedBytes } from '../../sidecar/checkpoints/weights.ts';
import { inspect, inspectPart } from '../../sidecar/engine/inspect.ts';
import { componentsOf, openAnyCheckpoint } from '../../sidecar/models/components.ts';
import type { WeightSource } from '../../sidecar/native.ts';
import { fixtureModel } from '../support/fixtures.ts';

let home: string;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'latent-edge-'));
  vi.stubEnv('XDG_CACHE_HOME', home);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(home, { recursive: true });
});

const source = (name: string, shape: number[]): WeightSource => ({
  ...{ name, shape, dtype: 'F16', file: 'x', offset: 0 },
});

test.each<[string, number[], boolean]>([
  ['conv_in.weight', [320, 4, 3, 3], false],
  ['conv_out.weight', [4, 320, 3, 3], false],
  ['conv_norm_out.weight', [320], false],
  ['down_blocks.0.resnets.0.conv1.weight', [320, 320, 3, 3], true],
  ['time_embedding.linear_1.weight', [1280, 320], true],
  ['text_model.embeddings.token_embedding.weight', [49_408, 768], false],
  ['text_model.embeddings.position_embedding.weight', [77, 768], false],
])('%s %j in 8 bits: %j', (name, shape, is) => {
  const [kept] = inEightBits([source(name, shape)]);
  expect(kept!.int8 ?? false).toBe(is);
});

test('what they take: a byte for each number, and a scale for each row', () => {
  const shape = [320, 320, 3, 3];
  expect(loadedBytes([source('a', shape)])).toBe(2 * 320 * 320 * 9);
  expect(loadedBytes(inEightBits([source('a', shape)]))).toBe(320 * 320 * 9 + 4 * 320);
});

test('an autoencoder is kept whole, and all else becomes another model', async () => {
  const dir = await fixtureModel('tiny-sd15');
  const open = async (weights?: 'int8') => componentsOf(await openAnyCheckpoint(dir, { weights }));
  const [whole, kept] = [await open(), await open('int8')];
  expect(kept.vae).toEqual(whole.vae);
  for (const part of ['unet', 'text_encoder']) {
    expect(kept[part]!.bytes).toBeLessThan(whole[part]!.bytes);
    const hashes = await Promise.all([whole, kept].map((of) => modelHash({ part: of[part]!.sources })));
    expect(hashes[0]).not.toBe(hashes[1]);
  }
});

test('a model is inspected as it would be kept', async () => {
  for (const name of ['tiny-sd15', 'tiny-controlnet-sd15-canny']) {
    const dir = await fixtureModel(name);
    const look = async (weights?: 'int8') =>
      (await inspectPart(dir, { hash: true, weights })) ?? inspect(dir, { hash: true, weights });
    const [whole, kept] = [await look(), await look('int8')];
    expect(kept.memoryBytes).toBeLessThan(0.8 * whole.memoryBytes);
    expect(kept.hash).not.toBe(whole.hash);
    expect(kept.components).toEqual(whole.components);
  }
});
