import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openFeatures } from '../../bench/features/index.ts';
import { writeSafetensors } from '../../sidecar/checkpoints/write.ts';
import { rawPicture } from '../../sidecar/engine/picture.ts';
import { type NativeDevice, native } from '../../sidecar/native.ts';
import { TorchGenerator } from '../../sidecar/random/torch.ts';
import { relativeL2 } from '../support/compare.ts';
import { type FixtureCase, fixtureCase } from '../support/fixtures.ts';

// The networks that pictures are judged by, against transformers and torch.

const models = (name: string) => fileURLToPath(new URL(`../../models/${name}`, import.meta.url));

let device: NativeDevice;
let dir: string;
beforeAll(async () => {
  device = await native().open({ device: 'cpu', poison: true });
  dir = await mkdtemp(join(tmpdir(), 'features-'));
});
afterAll(async () => {
  await device.dispose();
  await rm(dir, { recursive: true });
});

function pictureOf({ tensors }: FixtureCase) {
  const { shape, data } = tensors['in.picture']!;
  return rawPicture(Uint8Array.from(data), { height: shape[0]!, width: shape[1]! });
}

/** As make_features.py draws them. */
async function writeClip(params: FixtureCase['params']): Promise<void> {
  const generator = new TorchGenerator(params.seed);
  const weights = (params.weights as [string, number[]][]).map(([name, shape]) => {
    const drawn = generator.randn(shape.reduce((a, b) => a * b, 1)).map((x) => x * 0.125);
    const isScale = name.includes('norm') && name.endsWith('weight');
    return [name, { shape, data: isScale ? drawn.map((x) => x + 1) : drawn }] as const;
  });
  await writeSafetensors(join(dir, 'model.safetensors'), Object.fromEntries(weights));
  await writeFile(join(dir, 'config.json'), JSON.stringify(params.config));
}

test('CLIP: pictures and texts', async () => {
  const golden = fixtureCase('features-clip');
  await writeClip(golden.params);
  const clip = await openFeatures(device, dir);
  const { features, embedding } = await clip.look(pictureOf(golden));
  expect(relativeL2(features, golden.tensors['out.image']!.data)).toBeLessThanOrEqual(1e-5);
  expect(Math.hypot(...embedding)).toBeCloseTo(1, 6);
  const text = await clip.read!(golden.params.text);
  expect(relativeL2(text, golden.tensors['out.text']!.data)).toBeLessThanOrEqual(1e-5);
  await clip.dispose();
});

test('the classifier of models/training: pictures, and texts by the base', async () => {
  const golden = fixtureCase('features-classifier');
  const base = { name: 'tiny-emoji-ldm', dir: models('tiny-emoji-ldm') };
  const classifier = await openFeatures(device, models('training/features'), base);
  const { features, embedding } = await classifier.look(pictureOf(golden));
  const { tensors } = golden;
  expect(relativeL2(features, tensors['out.features']!.data)).toBeLessThanOrEqual(1e-5);
  expect(relativeL2(embedding, tensors['out.embedding']!.data)).toBeLessThanOrEqual(1e-5);
  const text = await classifier.read!(golden.params.text);
  expect(relativeL2(text, tensors['out.text']!.data)).toBeLessThanOrEqual(1e-5);
  await classifier.dispose();
  const mute = await openFeatures(device, models('training/features'));
  expect(mute.read).toBeUndefined();
  await mute.dispose();
});

test('a folder that is none says so', async () => {
  const empty = join(dir, 'none');
  await expect(openFeatures(device, empty)).rejects.toThrow(/^Expected a feature network in .*none/);
});
