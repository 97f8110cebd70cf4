import { afterAll, describe, expect, test } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { decodePart, encodePart } from '../../sidecar/engine/tensors/autoencoder.ts';
import { type DenoiseRequest, denoisePart } from '../../sidecar/engine/tensors/denoise.ts';
import type { Floats } from '../../sidecar/engine/tensors/tensor.ts';
import { encodeTextPart } from '../../sidecar/engine/tensors/text.ts';
import { TorchGenerator } from '../../sidecar/random/torch.ts';
import { relativeL2 } from '../support/compare.ts';
import { fixtureCase, fixtureModel } from '../support/fixtures.ts';
import type { FixtureTensor } from '../support/safetensors.ts';

// Encode, Decode, EncodeText and Denoise against the reference, alone and one after another.

const engines = new Map<string, Promise<Engine>>();
async function engineOf(name: string): Promise<Engine> {
  const open = async () => Engine.open({ folders: new ModelFolders([await fixtureModel(name)]) });
  const engine = engines.get(name) ?? open();
  engines.set(name, engine);
  return engine;
}
afterAll(async () => {
  for (const engine of engines.values()) await (await engine).dispose();
});

/** As it comes over the wire. */
function wire({ shape, data }: { shape: readonly number[]; data: ArrayLike<number> }) {
  const floats = Float32Array.from(data);
  return { dtype: 'F32', shape, data: new Uint8Array(floats.buffer) };
}

const rows = ({ shape, data }: Floats, from: number, to: number): Floats => {
  const size = data.length / shape[0]!;
  return { shape: [to - from, ...shape.slice(1)], data: data.subarray(from * size, to * size) };
};

function expectClose(actual: Floats, expected: FixtureTensor, tolerance: number, of = (x: number) => x) {
  expect(actual.shape).toEqual(expected.shape);
  expect(relativeL2(actual.data, expected.data.map(of))).toBeLessThanOrEqual(tolerance);
}

test.each([
  ['vae', 'tiny-sd15', 0.18215],
  ['vae-sdxl', 'tiny-sdxl', 0.13025],
])('%s: Encode and Decode', async (name, model, scaling) => {
  const { tensors } = fixtureCase(name);
  const engine = await engineOf(model);
  const { mean, std } = await engine.part(encodePart({ images: wire(tensors['in.image']!) }));
  expectClose(mean, tensors['out.mean']!, 1e-5, (x) => x * scaling);
  expectClose(std, tensors['out.logvar']!, 1e-5, (x) => scaling * Math.exp(x / 2));
  const { shape, data } = tensors['in.latents']!;
  const scaled = { shape, data: data.map((z) => z * scaling) };
  expectClose(await engine.part(decodePart({ latents: wire(scaled) })), tensors['out.image']!, 1e-5);
});

test('EncodeText: weights and chunks, as the reference reads them', async () => {
  const { params, tensors } = fixtureCase('prompt-weights');
  const prompts = params.prompts as { model: string; clip_skip: number; prompt: string }[];
  const engine = await engineOf('tiny-sd15');
  for (const [i, { model, clip_skip: clipSkip, prompt }] of prompts.entries()) {
    if (model !== 'tiny-sd15') continue;
    const { hiddenStates } = await engine.part(encodeTextPart({ texts: [prompt], clipSkip }));
    expect(relativeL2(hiddenStates.data, tensors[`out.${i}.encoding`]!.data), prompt).toBeLessThanOrEqual(
      1e-5,
    );
  }
});

interface PipelineParameters {
  prompt: string;
  negative_prompt?: string;
  num_inference_steps: number;
  guidance_scale: number;
  seed: number;
}

describe.each([
  ['pipeline-sd15-default', 'tiny-sd15', {}],
  ['pipeline-sd15-euler-batch', 'tiny-sd15', { sampler: 'euler' }],
  ['pipeline-sd15-nocfg', 'tiny-sd15', { sampler: 'ddim' }],
  ['pipeline-sdxl', 'tiny-sdxl', {}],
])('%s', (name, model, sampler) => {
  test('EncodeText and Denoise, in one go and in two', async () => {
    const { params, tensors } = fixtureCase(name);
    const expected = tensors['out.latents']!;
    const p = params as PipelineParameters;
    const engine = await engineOf(model);
    const isGuided = p.guidance_scale > 1;
    const isEmpty = !p.negative_prompt && model === 'tiny-sdxl';
    const texts = isGuided ? [p.prompt, p.negative_prompt ?? ''] : [p.prompt];
    const { hiddenStates, pooled } = await engine.part(encodeTextPart({ texts }));
    const zeros = (floats: Floats) => (isEmpty ? { ...floats, data: floats.data.map(() => 0) } : floats);
    const negative = (floats: Floats) => wire(zeros(rows(floats, 1, 2)));
    const noise = new TorchGenerator(p.seed).randn(expected.data.length);
    const request: DenoiseRequest = {
      latents: wire({ shape: expected.shape, data: noise }),
      hiddenStates: wire(rows(hiddenStates, 0, 1)),
      pooled: pooled && wire(rows(pooled, 0, 1)),
      ...(isGuided && {
        negativeHiddenStates: negative(hiddenStates),
        negativePooled: pooled && negative(pooled),
      }),
      ...{ steps: p.num_inference_steps, guidanceScale: p.guidance_scale, seeds: [1], ...sampler },
    };
    const steps: number[] = [];
    const whole = await engine.part(denoisePart(request, ({ step }) => steps.push(step)));
    expectClose(whole.latents, expected, 1e-4);
    expect(whole).toMatchObject({ evaluationsRun: whole.evaluations, seeds: [1] });
    expect(steps).toEqual(Array.from({ length: whole.evaluations }, (_, i) => i + 1));

    // DDIM and Euler remember nothing: they can be stopped and go on.
    if (!('sampler' in sampler)) return;
    const half = await engine.part(denoisePart({ ...request, end: 2 }));
    expect(half.evaluationsRun).toBe(2);
    const rest = await engine.part(denoisePart({ ...request, latents: wire(half.latents), first: 2 }));
    expect(rest.latents.data).toEqual(whole.latents.data);
  });
});

test('Denoise of a picture: as image to image', async () => {
  const engine = await engineOf('tiny-sd15');
  const latents = { shape: [1, 4, 8, 8], data: new TorchGenerator(1).randn(256) };
  const noise = { shape: [1, 4, 8, 8], data: new TorchGenerator(2).randn(256) };
  const { hiddenStates } = await engine.part(encodeTextPart({ texts: ['a boat'] }));
  const request = {
    hiddenStates: wire(hiddenStates),
    guidanceScale: 1,
    sampler: 'euler',
    steps: 4,
    seeds: [1],
  };
  const part = denoisePart({ ...request, latents: wire(latents), noise: wire(noise), first: 3 });
  const { latents: out, evaluationsRun } = await engine.part(part);
  expect(evaluationsRun).toBe(1);
  // Little noise is left to take away: it is the picture still, more than it is the noise.
  expect(relativeL2(out.data, latents.data)).toBeLessThan(relativeL2(out.data, noise.data));
});

test('Denoise without seeds, begun again: with those that were drawn first', async () => {
  const engine = await engineOf('tiny-sd15');
  const { hiddenStates } = await engine.part(encodeTextPart({ texts: ['a boat'] }));
  const latents = wire({ shape: [1, 4, 8, 8], data: new TorchGenerator(1).randn(256) });
  const request = { latents, hiddenStates: wire(hiddenStates), guidanceScale: 1, steps: 3 };
  const part = denoisePart({ ...request, sampler: 'euler-ancestral' });
  const first = await engine.part(part);
  expect(await engine.part(part)).toMatchObject({ seeds: first.seeds, latents: first.latents });
});

describe('what is refused', () => {
  const latents = { dtype: 'F32', shape: [1, 4, 8, 8], data: new Uint8Array(1024) };
  test.each([
    ['nothing', undefined, /^Expected F32 \[1…16,4,1…512,1…512\] for latents but received nothing$/],
    ['another dtype', { ...latents, dtype: 'F16' }, /received F16 \[1,4,8,8\]$/],
    ['another shape', { ...latents, shape: [1, 3, 8, 8] }, /received F32 \[1,3,8,8\]$/],
    ['a huge shape', { ...latents, shape: [1, 4, 2 ** 31, 8] }, /but received F32/],
    ['too many', { ...latents, shape: [16, 4, 512, 512] }, /bytes for latents.data but received 1024$/],
    ['too few bytes', { ...latents, data: new Uint8Array(1023) }, /^Expected 1024 bytes for latents.data/],
    ['NaN', { ...latents, data: new Uint8Array(1024).fill(0xff) }, /^Expected finite numbers for latents/],
  ])('%s', async (_, given, message) => {
    const engine = await engineOf('tiny-sd15');
    await expect(engine.part(decodePart({ latents: given }))).rejects.toThrow(message);
  });

  test('what a model cannot do', async () => {
    const plain = await engineOf('tiny-ldm-uncond');
    await expect(plain.part(encodeTextPart({ texts: ['x'] }))).rejects.toThrow(/model that takes text/);
    const images = { dtype: 'F32', shape: [1, 3, 8, 8], data: new Uint8Array(768) };
    await expect(plain.part(encodePart({ images }))).rejects.toThrow(/model that encodes pictures/);
    const engine = await engineOf('tiny-sd15');
    const guided = { latents, hiddenStates: { dtype: 'F32', shape: [1, 77, 1], data: new Uint8Array(308) } };
    await expect(engine.part(denoisePart(guided))).rejects.toMatchObject({ field: 'hidden_states' });
    await expect(engine.part(denoisePart({ latents, first: 1000 }))).rejects.toMatchObject({
      field: 'first',
    });
    expect(() => encodeTextPart({ texts: [] })).toThrow(/1…16 texts for texts but received 0/);
  });
});
