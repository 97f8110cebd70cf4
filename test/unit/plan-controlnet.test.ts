import { describe, expect, test } from 'vitest';
import { formatPlan, lifetimes, plan, planFlops } from '../../sidecar/graph/planner.ts';
import { traceControlContext, traceControlNet, traceHint } from '../../sidecar/models/controlnet.ts';
import {
  checkControlNet,
  controlNetConfig,
  residualCount,
  residualScales,
} from '../../sidecar/models/controlnet-config.ts';
import { traceUNet } from '../../sidecar/models/unet.ts';
import { unetConfig } from '../../sidecar/models/unet-config.ts';
import { config, configJson } from '../support/configs.ts';
import { opCounts, peakBytes, planFaults } from '../support/plan-checks.ts';

const control = config(controlNetConfig, 'controlnet-sd15');
const sd15 = config(unetConfig, 'unet-sd15');
const shape = { batch: 2, height: 64, width: 64, tokens: 77 };

describe('ControlNet of Stable Diffusion 1.5, batch 2, 512²', () => {
  const hint = traceHint(control, { batch: 2, height: 512, width: 512 });
  const context = traceControlContext(control, shape);
  const alone = traceUNet(sd15, shape);
  const both = traceUNet(sd15, shape, [control]);
  const planned = plan(both);

  test('361,279,120 parameters', () => {
    const step = both.parameters - alone.parameters;
    expect(hint.parameters + context.parameters + step).toBe(361_279_120);
    expect(hint.parameters).toBe(1_086_480);
  });

  test('GFLOP: what a step adds, and what a request adds once', () => {
    const once = planFlops(plan(hint)) + planFlops(plan(context));
    const step = planFlops(planned) - planFlops(plan(alone));
    expect(once / 1e9).toBeCloseTo(32.2, 1);
    expect(step / 1e9).toBeCloseTo(534.4, 1);
    expect((once + step) / 1e9).toBeCloseTo(566.6, 1);
  });

  test('ops', () => {
    expect(opCounts(planned)).toEqual({
      timestep_embedding: 2,
      to_nhwc: 1,
      to_nchw: 1,
      conv2d: 92,
      linear: 220,
      group_norm: 88,
      layer_norm: 69,
      attention: 46,
      zero_conv: 13,
    });
  });

  test('borders', () => {
    const own = planned.inputs.filter(({ name }) => name.startsWith('control.'));
    expect(own.slice(0, 3)).toMatchObject([
      { name: 'control.0.hint', shape: [2, 64, 64, 320] },
      { name: 'control.0.scales', shape: [13, 2] },
      { name: 'control.0.kv.0', shape: [2, 77, 640] },
    ]);
    const outputs = (g: typeof hint) =>
      plan(g).outputs.map(({ name, shape }) => ({ name: `control.0.${name}`, shape }));
    const given = [...outputs(hint), ...outputs(context)];
    expect(
      own.filter(({ name }) => !name.endsWith('scales')).map(({ name, shape }) => ({ name, shape })),
    ).toEqual(given);
    expect(given).toHaveLength(8);
    expect(planned.outputs.map(({ name }) => name)).toEqual(['sample']);
  });

  test('arena: 137 MiB, 1 % above what is live at the worst moment', () => {
    expect(planned.arenaBytes).toBe(143_578_304);
    expect(planned.arenaBytes / peakBytes([...lifetimes(both).values()])).toBeCloseTo(1.01, 2);
    for (const each of [planned, plan(hint), plan(context)]) expect(planFaults(each)).toEqual([]);
  });

  test('are the golden plans', async () => {
    await expect(formatPlan(planned)).toMatchFileSnapshot('../fixtures/plans/controlnet-unet-sd15.txt');
    await expect(formatPlan(plan(hint))).toMatchFileSnapshot('../fixtures/plans/hint-sd15.txt');
  });

  test('without ControlNets the plan is the U-Net’s', () => {
    expect(plan(traceUNet(sd15, shape, []))).toEqual(plan(alone));
  });

  test('each of several has parameters and inputs of its own', () => {
    const two = traceUNet(sd15, shape, [control, control]);
    const own = (i: number) =>
      [...two.params].filter(([name]) => name.startsWith(`control.${i}.`)).map(([, shape]) => shape);
    expect(own(1)).toEqual(own(0));
    expect(two.parameters - both.parameters).toBe(both.parameters - alone.parameters);
    expect(planFaults(plan(two))).toEqual([]);
    // The residuals of the first are gone when the second begins.
    expect(plan(two).arenaBytes - planned.arenaBytes).toBeLessThan(2 ** 25);
  });
});

test('ControlNet of Stable Diffusion XL: 1,251,014,160 parameters', () => {
  const xl = config(controlNetConfig, 'controlnet-sdxl');
  const graphs = [
    traceHint(xl, { batch: 1, height: 64, width: 64 }),
    traceControlContext(xl, { batch: 1, tokens: 77 }),
    traceControlNet(xl, { batch: 1, height: 8, width: 8, tokens: 77 }),
  ];
  expect(graphs.reduce((sum, { parameters }) => sum + parameters, 0)).toBe(1_251_014_160);
  expect(residualCount(xl)).toBe(10);
  expect([...graphs[2]!.outputs.keys()]).toEqual([
    ...Array.from({ length: 9 }, (_, i) => `down.${i}`),
    'mid',
  ]);
});

test.each([
  [1, 1],
  [9, 13],
  [33, 7],
])('latents of %ix%i', (height, width) => {
  const odd = { batch: 1, height, width, tokens: 77 };
  const hint = plan(traceHint(control, { batch: 1, height: 8 * height, width: 8 * width }));
  expect(hint.outputs[0]!.shape).toEqual([1, height, width, 320]);
  expect(planFaults(plan(traceUNet(sd15, odd, [control])))).toEqual([]);
});

test('a U-Net for inpainting shows a ControlNet the latents alone', () => {
  const inpainting = { ...sd15, in_channels: 9 };
  checkControlNet(inpainting, control, 'control');
  const inputs = plan(traceUNet(inpainting, shape, [control, control])).inputs;
  const images = inputs.filter(({ name }) => name.endsWith('sample'));
  expect(images.map(({ name, shape }) => [name, shape[1]])).toEqual([
    ['sample', 9],
    ['control.sample', 4],
  ]);
});

describe('a ControlNet for another base', () => {
  test.each([
    [
      'unet-sd21',
      'controlnet-sd15',
      'cross_attention_dim is 1024, but received one whose cross_attention_dim is 768',
    ],
    [
      'unet-sd15',
      'controlnet-sdxl',
      'cross_attention_dim is 768, but received one whose cross_attention_dim is 2048',
    ],
    [
      'unet-sdxl',
      'controlnet-sd15',
      'cross_attention_dim is 2048, but received one whose cross_attention_dim is 768',
    ],
    ['unet-sdxl-refiner', 'controlnet-sdxl', 'cross_attention_dim is 1280'],
  ])('%s with %s', (unet, name, message) => {
    const base = config(unetConfig, unet);
    expect(() => checkControlNet(base, config(controlNetConfig, name), 'models/control')).toThrow(message);
    expect(() => checkControlNet(base, config(controlNetConfig, name), 'models/control')).toThrow(
      /^Expected a ControlNet for the base model's U-Net, .* in models\/control$/,
    );
  });

  test.each([
    [{ block_out_channels: [320, 640, 1280, 640] }, 'block_out_channels is [320,640,1280,1280]'],
    [
      { layers_per_block: 3 },
      'layers_per_block is [2,2,2,2], but received one whose layers_per_block is [3,3,3,3]',
    ],
    [{ in_channels: 9 }, 'out_channels is 4'],
  ])('%o', (changes, message) => {
    const other = controlNetConfig.parse({ ...configJson('controlnet-sd15'), ...changes });
    expect(() => checkControlNet(sd15, other, 'control')).toThrow(message);
  });

  test('its own base is none', () => {
    checkControlNet(sd15, control, 'control');
    checkControlNet(config(unetConfig, 'unet-sdxl'), config(controlNetConfig, 'controlnet-sdxl'), 'control');
  });
});

test('guess mode: factors from a tenth to the whole, evenly in the logarithm', () => {
  const scales = residualScales(control, 0.8, { guessMode: true });
  expect(scales).toHaveLength(13);
  expect(scales[0]).toBeCloseTo(0.08, 12);
  expect(scales[6]).toBeCloseTo(0.8 * 10 ** -0.5, 12);
  expect(scales[12]).toBe(0.8);
  expect(residualScales(control, 0.8)).toEqual(new Array(13).fill(0.8));
});
