import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openFolder } from '../../sidecar/checkpoints/folder.ts';
import type { Part } from '../../sidecar/checkpoints/keys.ts';
import type { Plan } from '../../sidecar/graph/plan.ts';
import { pooledPositions } from '../../sidecar/models/clip.ts';
import {
  openComponent,
  planContext,
  planTextEncoder,
  planUNet,
  planVaeDecode,
  planVaeEncode,
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

function expectClose(actual: Float32Array | undefined, expected: FixtureTensor) {
  expect(relativeL2(actual!, expected.data)).toBeLessThanOrEqual(TOLERANCE);
}

describe.each([
  ['text-clip-l', 'tiny-sd15'],
  ['text-clip-h', 'tiny-sd21-v'],
])('%s', (name, model) => {
  test('hidden states and pooled output', async () => {
    const { tensors } = fixtureCase(name);
    const { component, weights } = await open(model, 'text_encoder');
    const ids = Int32Array.from(tensors['in.input_ids']!.data);
    const [batch, tokens] = tensors['in.input_ids']!.shape as [number, number];
    const plan = planTextEncoder({ text_encoder: component }, { batch, tokens });
    const outputs = await run(plan, weights, { input_ids: ids });
    expectClose(outputs.last_hidden_state, tensors['out.last_hidden_state']!);
    expectClose(outputs.penultimate, tensors['out.penultimate']!);

    const C = component.config.hidden_size;
    const pooled = pooledPositions(component.config, ids, tokens).flatMap((position, b) => {
      const at = (b * tokens + position) * C;
      return [...outputs.last_hidden_state!.subarray(at, at + C)];
    });
    expectClose(Float32Array.from(pooled), tensors['out.pooler_output']!);
  });
});

describe.each([
  ['unet-sd15', 'tiny-sd15'],
  ['unet-sd15-odd', 'tiny-sd15'],
  ['unet-sd21', 'tiny-sd21-v'],
])('%s', (name, model) => {
  test('noise prediction', async () => {
    const { tensors } = fixtureCase(name);
    const { component: unet, weights } = await open(model, 'unet');
    const [batch, , height, width] = tensors['in.sample']!.shape as [number, number, number, number];
    const tokens = tensors['in.encoder_hidden_states']!.shape[1]!;

    const contextPlan = planContext({ unet }, { batch, tokens });
    const text = { encoder_hidden_states: floats(tensors['in.encoder_hidden_states']!) };
    const context = await run(
      contextPlan,
      weights,
      text,
      contextPlan.outputs.map((output) => output.name),
    );
    const outputs = await run(planUNet({ unet }, { batch, height, width, tokens }), weights, {
      ...context,
      sample: floats(tensors['in.sample']!),
      timestep: floats(tensors['in.timestep']!),
    });
    expectClose(outputs.sample, tensors['out.sample']!);
  });
});

test('vae', async () => {
  const { tensors } = fixtureCase('vae');
  const { component: vae, weights } = await open('tiny-sd15', 'vae');
  const shape = (tensor: FixtureTensor) => {
    const [batch, , height, width] = tensor.shape as [number, number, number, number];
    return { batch, height, width };
  };
  const latents = tensors['in.latents']!;
  const decoded = await run(planVaeDecode({ vae }, shape(latents)), weights, { latents: floats(latents) });
  expectClose(decoded.image, tensors['out.image']!);

  const image = tensors['in.image']!;
  const encoded = await run(planVaeEncode({ vae }, shape(image)), weights, { image: floats(image) });
  expectClose(encoded.mean, tensors['out.mean']!);
  expectClose(encoded.logvar, tensors['out.logvar']!);
});
