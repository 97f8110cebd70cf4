import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { fixtureCase, fixtureModel } from '../support/fixtures.ts';
import { floatToHalf, halfToFloat, readTensors } from '../support/safetensors.ts';

test('every binary16 number survives, and values between two go to the nearer, ties to even', () => {
  for (let bits = 0; bits < 0x7bff; bits++) {
    const [value, next] = [halfToFloat(bits), halfToFloat(bits + 1)];
    const middle = (value + next) / 2;
    const got = [value, -value, middle, Math.fround(middle - (next - value) / 999)].map(floatToHalf);
    expect(got).toEqual([bits, bits | 0x8000, bits + (bits & 1), bits]);
  }
});

test('two workers may build one checkpoint at once', async () => {
  const [a, b] = await Promise.all([fixtureModel('tiny-sd15'), fixtureModel('tiny-sd15')]);
  expect(a).toBe(b);
  const unet = readTensors(join(a, 'unet/diffusion_pytorch_model.safetensors'));
  expect(Object.values(unet).reduce((sum, tensor) => sum + tensor.data.length, 0)).toBe(3_222_692);
  expect(existsSync(join(a, 'tokenizer/vocab.json'))).toBe(true);
});

test('a twin shares the weights by links and has a scheduler of its own', async () => {
  const folder = await fixtureModel('tiny-sd-turbo');
  const scheduler = JSON.parse(readFileSync(join(folder, 'scheduler/scheduler_config.json'), 'utf8'));
  expect(scheduler._class_name).toBe('EulerAncestralDiscreteScheduler');
  expect(existsSync(join(folder, 'unet/diffusion_pytorch_model.safetensors'))).toBe(true);
});

test('a case has parameters and tensors', () => {
  const { params, tensors } = fixtureCase('pipeline-sd15-default');
  expect(params.num_inference_steps).toBe(5);
  expect(tensors['out.images']!.shape).toEqual([1, 128, 128, 3]);
});

test('an unknown checkpoint is named', async () => {
  await expect(fixtureModel('tiny-nothing')).rejects.toThrow('received tiny-nothing');
});
