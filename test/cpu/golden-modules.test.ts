import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openFolder } from '../../sidecar/checkpoints/folder.ts';
import type { Part } from '../../sidecar/checkpoints/keys.ts';
import type { Plan } from '../../sidecar/graph/plan.ts';
import { pooledPositions, pooledRows } from '../../sidecar/models/clip.ts';
import {
  openComponent,
  openPart,
  planContext,
  planTaesdDecode,
  planTaesdEncode,
  planTextEncoder,
  planTextEncoderXL,
  planUNet,
  planUnconditionalUNet,
  planVaeDecode,
  planVaeEncode,
  planVqDecode,
} from '../../sidecar/models/components.ts';
import { type InputValue, type NativeDevice, type NativeWeights, native } from '../../sidecar/native.ts';
import { relativeL2 } from '../support/compare.ts';
import { fixtureCase, fixtureModel } from '../support/fixtures.ts';
import type { FixtureTensor } from '../support/safetensors.ts';

// Modules against the reference's outputs, from fixture checkpoints; every arena is poisoned with NaN.

const TOLERANCE = 1e-5;

let device: NativeDevice;
beforeAll(async () => {
  device = await native().open({ device: 'cpu', poison: true });
});
afterAll(() => device.dispose());

async function open<P extends Part>(model: string, part: P) {
  const component = await openComponent(await openFolder(await fixtureModel(model)), part);
  return { component, weights: await device.loadWeights(component.sources) };
}

async function run(plan: Plan, weights: NativeWeights, inputs: Record<string, InputValue>, keep?: string[]) {
  const program = await device.compile(plan, weights);
  const outputs = await program.run(inputs, { keep });
  await program.dispose();
  return outputs as Record<string, Float32Array>;
}

const floats = (tensor: FixtureTensor) => Float32Array.from(tensor.data);

const imageShape = (tensor: FixtureTensor) => {
  const [batch, , height, width] = tensor.shape as [number, number, number, number];
  return { batch, height, width };
};

function expectClose(actual: Float32Array | undefined, expected: FixtureTensor) {
  expect(relativeL2(actual!, expected.data)).toBeLessThanOrEqual(TOLERANCE);
}

/** Runs a text encoder's case, and gives the rows of its output where the texts end. */
async function runTextEncoder(name: string, model: string, part: 'text_encoder' | 'text_encoder_2') {
  const { tensors } = fixtureCase(name);
  const { component: text_encoder, weights } = await open(model, part);
  const input_ids = Int32Array.from(tensors['in.input_ids']!.data);
  const [batch, tokens] = tensors['in.input_ids']!.shape as [number, number];
  const positions = pooledPositions(text_encoder.config, input_ids, tokens);
  const of = (plan: Plan) => run(plan, weights, { input_ids });
  return {
    tensors,
    outputs: await of(planTextEncoder({ text_encoder }, { batch, tokens })),
    xl: await of(planTextEncoderXL({ text_encoder }, { batch, tokens })),
    pooled: (values: Float32Array | undefined) => pooledRows(values!, positions, tokens),
  };
}

describe.each([
  ['text-clip-l', 'tiny-sd15'],
  ['text-clip-h', 'tiny-sd21-v'],
])('%s', (name, model) => {
  test('hidden states and pooled output', async () => {
    const { tensors, outputs, xl, pooled } = await runTextEncoder(name, model, 'text_encoder');
    expectClose(outputs.last_hidden_state, tensors['out.last_hidden_state']!);
    expectClose(outputs.penultimate, tensors['out.penultimate']!);
    expectClose(xl.hidden_states, tensors['out.penultimate']!);
    expectClose(pooled(outputs.last_hidden_state), tensors['out.pooler_output']!);
    expect(Object.keys(xl)).toEqual(['hidden_states']);
  });
});

test('text-clip-g: hidden states and projection', async () => {
  const { tensors, outputs, xl, pooled } = await runTextEncoder('text-clip-g', 'tiny-sdxl', 'text_encoder_2');
  expectClose(outputs.last_hidden_state, tensors['out.last_hidden_state']!);
  expectClose(outputs.penultimate, tensors['out.penultimate']!);
  expectClose(pooled(outputs.text_embeds), tensors['out.text_embeds']!);
  expectClose(xl.hidden_states, tensors['out.penultimate']!);
  expectClose(pooled(xl.text_embeds), tensors['out.text_embeds']!);
});

describe.each([
  ['unet-sd15', 'tiny-sd15'],
  ['unet-sd15-odd', 'tiny-sd15'],
  ['unet-sd15-inpaint', 'tiny-sd15-inpaint'],
  ['unet-sd21', 'tiny-sd21-v'],
  ['unet-sdxl', 'tiny-sdxl'],
])('%s', (name, model) => {
  test('noise prediction', async () => {
    const { tensors } = fixtureCase(name);
    const { component: unet, weights } = await open(model, 'unet');
    const [batch, , height, width] = tensors['in.sample']!.shape as [number, number, number, number];
    const tokens = tensors['in.encoder_hidden_states']!.shape[1]!;
    const given = (...names: string[]) =>
      Object.fromEntries(names.map((name) => [name, floats(tensors[`in.${name}`]!)]));

    const timeIds = tensors['in.time_ids']?.shape[1];
    const contextPlan = planContext({ unet }, { batch, tokens, timeIds });
    const text = given('encoder_hidden_states', ...(timeIds ? ['text_embeds', 'time_ids'] : []));
    const keep = contextPlan.outputs.map((output) => output.name);
    const context = await run(contextPlan, weights, text, keep);
    const outputs = await run(planUNet({ unet }, { batch, height, width, tokens }), weights, {
      ...context,
      ...given('sample', 'timestep'),
    });
    expectClose(outputs.sample, tensors['out.sample']!);
  });
});

test.each([
  ['vae', 'tiny-sd15'],
  ['vae-sdxl', 'tiny-sdxl'],
])('%s', async (name, model) => {
  const { tensors } = fixtureCase(name);
  const { component: vae, weights } = await open(model, 'vae');
  const latents = tensors['in.latents']!;
  const decoded = await run(planVaeDecode({ vae }, imageShape(latents)), weights, {
    latents: floats(latents),
  });
  expectClose(decoded.image, tensors['out.image']!);

  const image = tensors['in.image']!;
  const encoded = await run(planVaeEncode({ vae }, imageShape(image)), weights, { image: floats(image) });
  expectClose(encoded.mean, tensors['out.mean']!);
  expectClose(encoded.logvar, tensors['out.logvar']!);
});

test('taesd', async () => {
  const { tensors } = fixtureCase('taesd');
  const taesd = await openPart(await fixtureModel('tiny-taesd'), 'taesd');
  const weights = await device.loadWeights(taesd.sources);
  const latents = tensors['in.latents']!;
  const decode = planTaesdDecode({ taesd }, imageShape(latents));
  expectClose((await run(decode, weights, { latents: floats(latents) })).image, tensors['out.image']!);

  const image = tensors['in.image']!;
  const encode = planTaesdEncode({ taesd }, imageShape(image));
  expectClose((await run(encode, weights, { image: floats(image) })).latents, tensors['out.latents']!);
});

test('ldm-uncond-unet', async () => {
  const { tensors } = fixtureCase('ldm-uncond-unet');
  const { component: unet, weights } = await open('tiny-ldm-uncond', 'unconditional_unet');
  const [sample, timestep] = [tensors['in.sample']!, floats(tensors['in.timestep']!)];
  const plan = planUnconditionalUNet({ unet }, imageShape(sample));
  const outputs = await run(plan, weights, { sample: floats(sample), timestep });
  expectClose(outputs.sample, tensors['out.sample']!);
});

test('ldm-vq', async () => {
  const { tensors } = fixtureCase('ldm-vq');
  const { component: vqvae, weights } = await open('tiny-ldm-uncond', 'vqvae');
  const latents = tensors['in.latents']!;
  const plan = planVqDecode({ vqvae }, imageShape(latents));
  expectClose((await run(plan, weights, { latents: floats(latents) })).image, tensors['out.image']!);
});
