import { describe, expect, test } from 'vitest';
import { formatPlan, lifetimes, plan, planFlops } from '../../sidecar/graph/planner.ts';
import { crossAttentionLayers, traceContext, traceUNet } from '../../sidecar/models/unet.ts';
import { unetConfig } from '../../sidecar/models/unet-config.ts';
import { config } from '../support/configs.ts';
import { opCounts, peakBytes, planFaults } from '../support/plan-checks.ts';

const sd15 = config(unetConfig, 'unet-sd15');
const unet = traceUNet(sd15, { batch: 2, height: 64, width: 64, tokens: 77 });
const context = traceContext(sd15, { batch: 2, tokens: 77 });

describe('Stable Diffusion 1.5, batch 2, 512²', () => {
  const planned = plan(unet);

  test('ops', () => {
    expect(opCounts(planned)).toEqual({
      timestep_embedding: 1,
      to_nhwc: 1,
      to_nchw: 1,
      conv2d: 66,
      linear: 152,
      group_norm: 61,
      layer_norm: 48,
      attention: 32,
    });
  });

  test('borders', () => {
    const { inputs, outputs } = planned;
    expect(inputs.slice(0, 3)).toMatchObject([
      { name: 'sample', shape: [2, 4, 64, 64], dtype: 'f32' },
      { name: 'timestep', shape: [2], dtype: 'f32' },
      { name: 'kv.0', shape: [2, 77, 640], dtype: 'f32' },
    ]);
    expect(outputs).toMatchObject([{ name: 'sample', shape: [2, 4, 64, 64], dtype: 'f32' }]);
    const kv = plan(context).outputs.map(({ name, shape }) => ({ name, shape }));
    expect(inputs.slice(2).map(({ name, shape }) => ({ name, shape }))).toEqual(kv);
    expect(kv).toHaveLength(16);
  });

  test('parameters: 859,520,964, of which cross-attention’s k and v are in the context plan', () => {
    expect(unet.parameters + context.parameters).toBe(859_520_964);
    expect(context.parameters).toBe(19_169_280);
    expect([...context.params.keys()].filter((name) => unet.params.has(name))).toEqual([]);
  });

  test('arena: 104 MiB, which is what is live at the worst moment; no live buffers overlap', () => {
    expect(planned.arenaBytes).toBe(108_968_960);
    expect(planned.arenaBytes).toBe(peakBytes([...lifetimes(unet).values()]));
    expect(planFaults(planned)).toEqual([]);
    expect(planFaults(plan(context))).toEqual([]);
  });

  test('1606 GFLOP with the context', () => {
    expect((planFlops(planned) + planFlops(plan(context))) / 1e9).toBeCloseTo(1606.5, 1);
  });

  test('is the golden plan', async () => {
    await expect(formatPlan(planned)).toMatchFileSnapshot('../fixtures/plans/unet-sd15.txt');
  });
});

test('with two texts for an image, what comes before the first text is computed once', () => {
  const shape = { batch: 2, height: 64, width: 64, tokens: 77 };
  const shared = plan(traceUNet(sd15, { ...shape, texts: 2 }));
  const { repeat, ...others } = opCounts(shared);
  // The time embedding, the first text's queries, what its output is added to, that of the block, a skip connection.
  expect(repeat).toBe(5);
  expect(others).toEqual(opCounts(plan(unet)));
  expect(shared.inputs.slice(0, 3)).toMatchObject([
    { name: 'sample', shape: [1, 4, 64, 64] },
    { name: 'timestep', shape: [1] },
    { name: 'kv.0', shape: [2, 77, 640] },
  ]);
  expect(shared.outputs).toMatchObject([{ name: 'sample', shape: [2, 4, 64, 64] }]);
  expect((planFlops(plan(unet)) - planFlops(shared)) / 1e9).toBeCloseTo(41.7, 1);
  expect(shared.arenaBytes).toBeLessThanOrEqual(plan(unet).arenaBytes);
  expect(planFaults(shared)).toEqual([]);
});

test('cross-attention layers in the order of the trace', () => {
  const layers = crossAttentionLayers(sd15);
  expect(layers[0]).toEqual({
    path: 'down_blocks.0.attentions.0.transformer_blocks.0.attn2',
    features: 320,
  });
  expect(layers.map(({ features }) => features)).toEqual([
    ...[320, 320, 640, 640, 1280, 1280, 1280],
    ...[1280, 1280, 1280, 640, 640, 640, 320, 320, 320],
  ]);
});

test.each([
  [1, 1],
  [8, 24],
  [9, 13],
  [33, 7],
  [65, 96],
])('latents of %ix%i come back as they were', (height, width) => {
  const planned = plan(traceUNet(sd15, { batch: 1, height, width, tokens: 77 }));
  expect(planned.outputs[0]!.shape).toEqual([1, 4, height, width]);
  expect(planFaults(planned)).toEqual([]);
});

test('nine input channels make an inpainting model', () => {
  const inpainting = { ...sd15, in_channels: 9 };
  const g = traceUNet(inpainting, { batch: 1, height: 64, width: 64, tokens: 77 });
  expect(g.params.get('conv_in.weight')).toEqual([320, 9, 3, 3]);
  expect(g.parameters + context.parameters).toBe(859_535_364);
});
