import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openFolder } from '../../sidecar/checkpoints/folder.ts';
import { type ModuleOptions, modules, type Tensors } from '../../sidecar/engine/modules/index.ts';
import type { Plan } from '../../sidecar/graph/plan.ts';
import {
  type Component,
  openComponent,
  openPart,
  planContext,
  planControlContext,
  planHint,
  planUNet,
} from '../../sidecar/models/components.ts';
import { type ControlNetConfig, residualScales } from '../../sidecar/models/controlnet-config.ts';
import type { UNetConfig } from '../../sidecar/models/unet-config.ts';
import { type InputValue, type NativeDevice, type NativeWeights, native } from '../../sidecar/native.ts';
import { relativeL2 } from '../support/compare.ts';
import { fixtureCase, fixtureModel } from '../support/fixtures.ts';

// ControlNets against the reference's outputs, and against U-Nets without any; every arena is poisoned with NaN.

const TOLERANCE = 1e-5;

let device: NativeDevice;
beforeAll(async () => {
  device = await native().open({ device: 'cpu', threads: 2, poison: true });
});
afterAll(() => device.dispose());

const inputsOf = ({ tensors }: ReturnType<typeof fixtureCase>): Tensors =>
  new Map(
    Object.entries(tensors).flatMap(([name, { shape, data }]) =>
      name.startsWith('in.') ? [[name.slice(3), { shape, data: Float32Array.from(data) }] as const] : [],
    ),
  );

async function run(component: string, name: string, model: string, options: ModuleOptions) {
  return modules[component]!(device, await fixtureModel(model), inputsOf(fixtureCase(name)), options);
}

describe.each([
  ['controlnet-sd15', 'tiny-sd15', 'tiny-controlnet-sd15-canny', 14],
  ['controlnet-sd15-guess', 'tiny-sd15', 'tiny-controlnet-sd15-canny', 14],
  ['controlnet-sdxl', 'tiny-sdxl', 'tiny-controlnet-sdxl-canny', 11],
])('%s', (name, model, control, count) => {
  test.each(['controlnet', 'controlnet+unet'])('%s', async (component) => {
    const { params, tensors } = fixtureCase(name);
    const controlnet = await fixtureModel(control);
    const options = { controlnet, scale: params.conditioning_scale, guessMode: params.guess_mode };
    const outputs = await run(component, name, model, options);
    expect(outputs.size).toBe(component === 'controlnet' ? count - 1 : count);
    for (const [key, { shape, data }] of outputs) {
      const expected = tensors[`out.${key}`]!;
      expect(shape, key).toEqual(expected.shape);
      expect(relativeL2(data, expected.data), key).toBeLessThanOrEqual(TOLERANCE);
    }
  });
});

test.each([
  [
    'tiny-sd21-v',
    'tiny-controlnet-sdxl-canny',
    /cross_attention_dim is 32, .* cross_attention_dim is 64, in /,
  ],
  ['tiny-sdxl', 'tiny-controlnet-sd15-canny', /cross_attention_dim is 64, .* cross_attention_dim is 32, in /],
])('%s with %s is an error before any work', async (model, control, message) => {
  const before = device.memory();
  const controlnet = await fixtureModel(control);
  await expect(run('controlnet+unet', 'controlnet-sd15', model, { controlnet })).rejects.toThrow(message);
  expect(device.memory()).toEqual(before);
});

test('without a folder it is an error that says so', async () => {
  await expect(run('controlnet', 'controlnet-sd15', 'tiny-sd15', {})).rejects.toThrow(
    'Expected a folder or file for --controlnet but received nothing',
  );
});

describe('tiny-sd15 with ControlNets', () => {
  const { tensors } = fixtureCase('controlnet-sd15');
  const given = (name: string) => Float32Array.from(tensors[`in.${name}`]!.data);
  const [batch, , height, width] = tensors['in.sample']!.shape as [number, number, number, number];
  const shape = { batch, height, width, tokens: tensors['in.encoder_hidden_states']!.shape[1]! };
  const step = { sample: given('sample'), timestep: given('timestep') };
  const text = { encoder_hidden_states: given('encoder_hidden_states') };
  type Control = Component<ControlNetConfig>;

  let unet: Component<UNetConfig>;
  let base: NativeWeights;
  let controls: { component: Control; weights: NativeWeights }[];
  beforeAll(async () => {
    unet = await openComponent(await openFolder(await fixtureModel('tiny-sd15')), 'unet');
    base = await device.loadWeights(unet.sources);
    controls = await Promise.all(
      ['tiny-controlnet-sd15-canny', 'tiny-controlnet-sd15-depth'].map(async (name) => {
        const component = await openPart(await fixtureModel(name), 'controlnet');
        return { component, weights: await device.loadWeights(component.sources) };
      }),
    );
  });

  async function once(plan: Plan, weights: NativeWeights, inputs: Record<string, InputValue>) {
    const program = await device.compile(plan, weights);
    const outputs = await program.run(inputs);
    await program.dispose();
    return outputs as Record<string, Float32Array>;
  }

  /** The U-Net with those ControlNets; scales of each [R,B]. */
  async function sample(used: typeof controls, scales: Float32Array[]) {
    const inputs: Record<string, InputValue> = {
      ...step,
      ...(await once(planContext({ unet }, shape), base, text)),
    };
    const under: Record<string, NativeWeights> = {};
    for (const [i, { component: controlnet, weights }] of used.entries()) {
      under[`control.${i}.`] = weights;
      const picture = { batch, height: 8 * height, width: 8 * width };
      const hint = await once(planHint({ controlnet }, picture), weights, {
        controlnet_cond: given('controlnet_cond'),
      });
      const context = await once(planControlContext({ controlnet }, shape), weights, text);
      for (const [name, value] of Object.entries({ ...hint, ...context, scales: scales[i]! }))
        inputs[`control.${i}.${name}`] = value;
    }
    const all = await device.loadWeights([], { base, under });
    const components = used.map(({ component }) => component);
    const outputs = await once(planUNet({ unet }, shape, components), all, inputs);
    await all.dispose();
    return outputs.sample!;
  }

  const bits = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length);
  const even = (scale: number) => {
    const factors = residualScales(controls[0]!.component.config, scale);
    return Float32Array.from(factors.flatMap((factor) => new Array<number>(batch).fill(factor)));
  };

  test('scale 0 gives the U-Net’s own output, bit for bit', async () => {
    const plain = await sample([], []);
    expect(bits(await sample(controls, [even(0), even(0)]))).toEqual(bits(plain));
    expect(await sample(controls, [even(0), even(1)])).not.toEqual(plain);
  });

  test('so does a ControlNet whose convolutions are zero, as training begins', async () => {
    const { component, weights } = controls[0]!;
    const zero = component.sources.filter(({ name }) => /^controlnet_(down_blocks|mid_block)/.test(name));
    expect(zero).toHaveLength(26);
    const zeros = zero.map(({ name, shape }) => {
      const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
      return { name, shape, dtype: 'F32' as const, data };
    });
    const initial = await device.loadWeights(zeros, { base: weights });
    const controlled = await sample([{ component, weights: initial }], [even(1)]);
    expect(bits(controlled)).toEqual(bits(await sample([], [])));
  });

  test('an image whose factors are 0 is as it would be without; the others do not change with it', async () => {
    const [plain, full] = [await sample([], []), await sample(controls.slice(0, 1), [even(1)])];
    const first = even(1).map((factor, i) => (i % batch === 0 ? 0 : factor));
    const mixed = await sample(controls.slice(0, 1), [first]);
    const n = plain.length / batch;
    expect(bits(mixed.slice(0, n))).toEqual(bits(plain.slice(0, n)));
    expect(bits(mixed.slice(n))).toEqual(bits(full.slice(n)));
  });

  test('of two that are the same, half each is the whole of one', async () => {
    const [one] = controls;
    const halves = await sample([one!, one!], [even(0.5), even(0.5)]);
    expect(relativeL2(halves, await sample([one!], [even(1)]))).toBeLessThanOrEqual(TOLERANCE);
    expect(relativeL2(halves, tensors['out.sample']!.data)).toBeLessThanOrEqual(TOLERANCE);
  });

  test('two that differ add up, in either order', async () => {
    const [canny, depth] = controls;
    const one = await sample([canny!, depth!], [even(0.9), even(0.5)]);
    const other = await sample([depth!, canny!], [even(0.5), even(0.9)]);
    expect(relativeL2(one, other)).toBeLessThanOrEqual(TOLERANCE);
    expect(relativeL2(one, await sample([canny!], [even(0.9)]))).toBeGreaterThan(1e-3);
  });
});
