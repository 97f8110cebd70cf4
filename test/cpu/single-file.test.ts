import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { fixtureModel } from '../support/fixtures.ts';
import { optionsOf, type TableName, writeSingleFile } from '../support/single-file.ts';

// A folder in diffusers layout, and what the reference's conversion script makes of it, give the same file of pixels.

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'latent-edge-'));
});
afterAll(() => rm(dir, { recursive: true }));

const request = {
  prompt: 'A lighthouse at dusk, 8k!',
  negativePrompt: 'blurry',
  ...{ seeds: [3], steps: 3, width: 64, height: 72 },
};

async function generate(path: string): Promise<{ png: Buffer; modelHash: string; sampler: string }> {
  const engine = await Engine.open({ folders: new ModelFolders([path]) });
  try {
    const { images, effective } = await engine.generate(request);
    return { png: images[0]!.file, modelHash: effective.modelHash, sampler: effective.sampler };
  } finally {
    await engine.dispose();
  }
}

test.each([
  ['tiny-sd15', 'sd15'],
  ['tiny-sd21-v', 'sd21'],
  ['tiny-sdxl', 'sdxl'],
] as [string, TableName][])('%s: the same PNG from the folder and from one file', async (name, table) => {
  const folder = join(dir, name);
  await cp(await fixtureModel(name), folder, { recursive: true });
  // The published folders of 2.x pad with it, the tiny one does not.
  if (table === 'sd21')
    await writeFile(join(folder, 'tokenizer/special_tokens_map.json'), JSON.stringify({ pad_token: '!' }));
  const file = join(dir, `${name}.safetensors`);
  writeSingleFile(file, folder, table);
  const settings = { checkpoint: await optionsOf(folder) };
  await writeFile(join(dir, `${name}.latent-edge.json`), JSON.stringify(settings));
  const [expected, received] = [await generate(folder), await generate(file)];
  expect(received).toEqual(expected);
});
