import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openFolder } from '../../sidecar/checkpoints/folder.ts';
import { opCases, type RunnableCase, runnable } from '../../sidecar/doctor/cases.ts';
import { Engine } from '../../sidecar/engine/engine.ts';
import { ModelFolders } from '../../sidecar/engine/model-folders.ts';
import { Graph, Weights } from '../../sidecar/graph/builder.ts';
import type { Plan } from '../../sidecar/graph/plan.ts';
import { plan } from '../../sidecar/graph/planner.ts';
import { elements } from '../../sidecar/graph/signature.ts';
import { openComponent, planContext, planTextEncoder, planUNet } from '../../sidecar/models/components.ts';
import { packedLinear } from '../../sidecar/models/layers.ts';
import { type InputValue, type NativeDevice, native, type WeightSource } from '../../sidecar/native.ts';
import { TorchGenerator } from '../../sidecar/random/torch.ts';
import { relativeL2 } from '../support/compare.ts';
import { type DeltaInMemory, type InMemory, merge, wave } from '../support/deltas.ts';
import { byTensor, inEightBits } from '../support/eight-bits.ts';
import { fixtureModel } from '../support/fixtures.ts';

// Weights in 8 bits: products are those of the rounded numbers, and how far from whole ones modules and pictures are.

const EMOJI = fileURLToPath(new URL('../../models/tiny-emoji-ldm', import.meta.url));

let device: NativeDevice;
beforeAll(async () => {
  device = await native().open({ device: 'cpu', poison: true });
});
afterAll(() => device.dispose());

async function run(
  plan: Plan,
  sources: WeightSource[],
  inputs: Record<string, InputValue>,
  keep?: string[],
): Promise<Record<string, Float32Array>> {
  const weights = await device.loadWeights(sources);
  const program = await device.compile(plan, weights);
  const outputs = await program.run(inputs, { keep });
  await program.dispose();
  await weights.dispose();
  return outputs as Record<string, Float32Array>;
}

const isProduct = ({ op }: { op: string }) => ['linear', 'conv2d', 'zero_conv'].includes(op);
/** Of weights that can be drawn and rounded in a moment. */
const isQuick = ({ plan }: RunnableCase) => elements(plan.ops[0]!.weights.weight!.shape) < 2 ** 22;
const large = { tensors: { x: [1, 128, 130, 32], weight: [40, 32, 3, 3] }, also: ['bias'] };
const products = [
  ...opCases()
    .filter(isProduct)
    .map(({ op, cases }) => ({ op, cases: cases.filter(isQuick) })),
  { op: 'conv2d', cases: [runnable('conv2d', { ...large, attrs: { stride: 1, padding: [1, 1, 1, 1] } })] },
];

describe.each(products)('$op', ({ cases }) => {
  test.each(cases)('$title', async ({ plan, draw }) => {
    const { weights, inputs } = draw();
    const expected = weights.map((source): WeightSource => {
      const { name, shape, data } = source as WeightSource & { data: Float32Array };
      const size = data.length / shape[0]!;
      return name.startsWith('weight') ? { ...source, dtype: 'F32', data: inEightBits(data, size) } : source;
    });
    const marked = weights.map((source) => ({ ...source, int8: true }));
    const [actual, wanted] = [await run(plan, marked, inputs), await run(plan, expected, inputs)];
    expect(relativeL2(actual.y!, wanted.y!)).toBeLessThanOrEqual(1e-6);
  });
});

test('what adapters add comes before the rounding, and takes a quarter of float32', async () => {
  const g = new Graph('layers');
  const w = new Weights(g);
  g.output('y', packedLinear(g, w, ['to_q', 'to_k'], g.input('x', [3, 96]), 64, { bias: false }));
  const traced = plan(g);
  const [q, k] = ['to_q.weight', 'to_k.weight'].map((name) => wave(name, [64, 96])) as [InMemory, InMemory];
  const delta: DeltaInMemory = {
    ...{ weight: q.name, scale: 0.5 },
    factors: [{ up: wave('up', [64, 2]), down: wave('down', [2, 96]) }],
  };
  const rounded = (source: InMemory) => ({ ...source, data: inEightBits(source.data, 96) });
  const x = wave('x', [3, 96]).data;
  const expected = await run(traced, [merge(q, [delta]), k].map(rounded), { x });
  const base = await device.loadWeights([q, k].map((source) => ({ ...source, int8: true })));
  const adapted = await device.loadWeights([], { base, deltas: [delta] });
  const before = device.memory().weights;
  const program = await device.compile(traced, adapted);
  expect(device.memory().weights - before).toBe(128 * (96 + 4));
  const { y } = await program.run({ x });
  expect(relativeL2(y as Float32Array, expected.y!)).toBeLessThanOrEqual(1e-6);
  await program.dispose();
  await adapted.dispose();
  await base.dispose();
});

/** A U-Net's prediction from noise and a text of noise. */
async function predict(model: string, change: (sources: WeightSource[]) => WeightSource[], weights?: 'int8') {
  const unet = await openComponent(await openFolder(model), 'unet', { weights });
  const sources = change(unet.sources);
  const shape = { batch: 2, tokens: 77 };
  const side = unet.config.sample_size as number;
  const noise = new TorchGenerator(0);
  const context = planContext({ unet }, shape);
  const text = { encoder_hidden_states: noise.randn(2 * 77 * unet.config.cross_attention_dim) };
  const keep = context.outputs.map(({ name }) => name);
  const given = {
    sample: noise.randn(2 * unet.config.in_channels * side * side),
    timestep: Float32Array.of(801, 101),
  };
  const kv = await run(context, sources, text, keep);
  const plan = planUNet({ unet }, { ...shape, height: side, width: side });
  return (await run(plan, sources, { ...kv, ...given })).sample!;
}

describe.each([
  ['tiny-emoji-ldm', EMOJI, 0.0135],
  ['tiny-sd15', undefined, 0.033],
])('a U-Net: %s', (name, dir, bound) => {
  test('is as near to its whole weights as a scale for each channel brings it', async () => {
    const model = dir ?? (await fixtureModel(name));
    const whole = await predict(model, (sources) => sources);
    const error = relativeL2(await predict(model, (sources) => sources, 'int8'), whole);
    const coarse = relativeL2(await predict(model, byTensor, 'int8'), whole);
    expect(error).toBeLessThan(bound);
    expect(error).toBeGreaterThan(0.3 * bound);
    expect(coarse).toBeGreaterThan(bound);
  });
});

test('a text encoder: its words are whole, its matrices are not', async () => {
  const folder = await openFolder(EMOJI);
  const encode = async (weights: 'file' | 'int8') => {
    const text_encoder = await openComponent(folder, 'text_encoder', { weights });
    const input_ids = Int32Array.from({ length: 77 }, (_, i) => (i * 37) % text_encoder.config.vocab_size);
    const plan = planTextEncoder({ text_encoder }, { batch: 1, tokens: 77 });
    return (await run(plan, text_encoder.sources, { input_ids })).last_hidden_state!;
  };
  const error = relativeL2(await encode('int8'), await encode('file'));
  expect(error).toBeLessThan(0.005);
  expect(error).toBeGreaterThan(0.001);
});

test('a picture is nearly the same, of a model that says it is another, in less memory', async () => {
  const draw = async (weights: 'file' | 'int8') => {
    const engine = await Engine.open({ folders: new ModelFolders([EMOJI]), weights });
    const { images, effective } = await engine.generate({ prompt: 'red apple', steps: 20, seeds: [0] });
    const bytes = engine.info().devices[0]!.weightsBytes;
    await engine.dispose();
    return { effective, bytes, pixels: await sharp(images[0]!.file).raw().toBuffer() };
  };
  const [whole, kept] = [await draw('file'), await draw('int8')];
  const square = (level: number, i: number) => (level - whole.pixels[i]!) ** 2;
  const error = kept.pixels.reduce((sum, level, i) => sum + square(level, i), 0) / kept.pixels.length;
  expect(10 * Math.log10(255 ** 2 / error)).toBeGreaterThan(50);
  expect(error).toBeGreaterThan(0);
  expect(kept.bytes).toBeLessThan(0.65 * whole.bytes);
  expect(kept.effective.modelHash).toMatch(/^[0-9a-f]{64}$/);
  expect(kept.effective.modelHash).not.toBe(whole.effective.modelHash);
  expect(kept.effective.notes).toEqual(["weights: in 8 bits, but for the autoencoder's"]);
  expect(whole.effective.notes).toEqual([]);
});
