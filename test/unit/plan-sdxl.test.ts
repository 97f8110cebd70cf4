import { describe, expect, test } from 'vitest';
import { formatPlan, lifetimes, plan, planFlops } from '../../sidecar/graph/planner.ts';
import { crossAttentionLayers, traceContext, traceUNet } from '../../sidecar/models/unet.ts';
import { unetConfig } from '../../sidecar/models/unet-config.ts';
import { traceVaeDecode, vaeConfig } from '../../sidecar/models/vae.ts';
import { config } from '../support/configs.ts';
import { opCounts, peakBytes, planFaults } from '../support/plan-checks.ts';

const base = config(unetConfig, 'unet-sdxl');
const refiner = config(unetConfig, 'unet-sdxl-refiner');

describe('Stable Diffusion XL, batch 2, 1024²', () => {
  const unet = traceUNet(base, { batch: 2, height: 128, width: 128, tokens: 77 });
  const context = traceContext(base, { batch: 2, tokens: 77 });
  const [planned, once] = [plan(unet), plan(context)];

  test('912 ops', () => {
    expect(planned.ops).toHaveLength(912);
    expect(opCounts(planned)).toEqual({
      timestep_embedding: 1,
      activation: 1,
      to_nhwc: 1,
      to_nchw: 1,
      conv2d: 51,
      linear: 461,
      group_norm: 46,
      layer_norm: 210,
      attention: 140,
    });
    // Text and sizes are joined by a 1x1 convolution of two inputs.
    expect(opCounts(once)).toEqual({ linear: 71, timestep_embedding: 1, conv2d: 1, activation: 1 });
  });

  test('borders: the context plan gives what the U-Net takes', () => {
    const border = (tensors: { name: string; shape: number[] }[]) =>
      tensors.map(({ name, shape }) => ({ name, shape })).sort((a, b) => (a.name < b.name ? -1 : 1));
    expect(border(once.inputs)).toEqual([
      { name: 'encoder_hidden_states', shape: [2, 77, 2048] },
      { name: 'text_embeds', shape: [2, 1280] },
      { name: 'time_ids', shape: [2, 6] },
    ]);
    expect(border(planned.inputs)).toEqual(
      border([
        ...once.outputs,
        { name: 'sample', shape: [2, 4, 128, 128] },
        { name: 'timestep', shape: [2] },
      ]),
    );
    expect(once.outputs).toHaveLength(71);
    expect(once.outputs).toContainEqual(expect.objectContaining({ name: 'add_embedding', shape: [2, 1280] }));
  });

  test('parameters: 2,567,463,684', () => {
    expect(unet.parameters + context.parameters).toBe(2_567_463_684);
    expect(context.parameters).toBe(346_032_640);
    expect([...context.params.keys()].filter((name) => unet.params.has(name))).toEqual([]);
  });

  test('arena: 386 MiB, within 0.2 % of what is live at the worst moment; no live buffers overlap', () => {
    expect(planned.arenaBytes).toBe(404_940_800);
    expect(planned.arenaBytes).toBeLessThan(1.002 * peakBytes([...lifetimes(unet).values()]));
    expect(planFaults(planned)).toEqual([]);
    expect(planFaults(once)).toEqual([]);
  });

  test('13,522 GFLOP with the context', () => {
    expect((planFlops(planned) + planFlops(once)) / 1e9).toBeCloseTo(13522.5, 1);
  });

  test('is the golden plan', async () => {
    await expect(formatPlan(planned)).toMatchFileSnapshot('../fixtures/plans/unet-sdxl.txt');
    await expect(formatPlan(once)).toMatchFileSnapshot('../fixtures/plans/context-sdxl.txt');
  });
});

test('transformers of 2 and 10 layers, none at the first level', () => {
  const features = crossAttentionLayers(base).map((layer) => layer.features);
  const times = (n: number, C: number) => Array<number>(n).fill(C);
  expect(features).toEqual([...times(4, 640), ...times(60, 1280), ...times(6, 640)]);
  expect(crossAttentionLayers(base)[0]!.path).toBe('down_blocks.1.attentions.0.transformer_blocks.0.attn2');
});

test('the refiner: four levels, 2,259,526,660 parameters, 5 sizes beside the text', () => {
  const unet = traceUNet(refiner, { batch: 2, height: 128, width: 128, tokens: 77 });
  const context = traceContext(refiner, { batch: 2, tokens: 77, timeIds: 5 });
  const planned = plan(unet);
  expect(planned.ops).toHaveLength(656);
  expect(unet.parameters + context.parameters).toBe(2_259_526_660);
  expect(planned.arenaBytes).toBe(452_997_120);
  expect(planFaults(planned)).toEqual([]);
  expect(plan(context).inputs).toMatchObject([
    { name: 'encoder_hidden_states', shape: [2, 77, 1280] },
    { name: 'text_embeds', shape: [2, 1280] },
    { name: 'time_ids', shape: [2, 5] },
  ]);
});

test('SDXL-Turbo, batch 1, 512²: the base model at another size', () => {
  const turbo = config(unetConfig, 'unet-sdxl-turbo');
  const unet = traceUNet(turbo, { batch: 1, height: 64, width: 64, tokens: 77 });
  const context = traceContext(turbo, { batch: 1, tokens: 77 });
  expect(unet.params).toEqual(traceUNet(base, { batch: 1, height: 1, width: 1, tokens: 1 }).params);
  expect(plan(unet).arenaBytes).toBe(88_468_480);
  expect((planFlops(plan(unet)) + planFlops(plan(context))) / 1e9).toBeCloseTo(1588.8, 1);
});

test('sizes must leave room for the text', () => {
  for (const timeIds of [0, 1.5, 11])
    expect(() => traceContext(base, { batch: 1, tokens: 77, timeIds })).toThrow(
      `leave room for the text in 2816 features but received ${timeIds} of 256 each`,
    );
});

test('its autoencoder is that of Stable Diffusion, but for the scaling factor and its range', () => {
  const [vae, before] = [config(vaeConfig, 'vae-sdxl'), config(vaeConfig, 'vae-sd')];
  expect(vae).toMatchObject({ scaling_factor: 0.13025, force_upcast: true });
  const shape = { batch: 1, height: 128, width: 128 };
  expect(plan(traceVaeDecode(vae, shape))).toEqual(plan(traceVaeDecode(before, shape)));
  expect(plan(traceVaeDecode(vae, shape)).arenaBytes).toBe(2_684_354_560);
});
