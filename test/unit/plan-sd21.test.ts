import { expect, test } from 'vitest';
import { lifetimes, plan, planFlops } from '../../sidecar/graph/planner.ts';
import { traceContext, traceUNet } from '../../sidecar/models/unet.ts';
import { unetConfig } from '../../sidecar/models/unet-config.ts';
import { config } from '../support/configs.ts';
import { opCounts, peakBytes, planFaults } from '../support/plan-checks.ts';

const sd21 = config(unetConfig, 'unet-sd21');
const unet = traceUNet(sd21, { batch: 2, height: 96, width: 96, tokens: 77 });
const context = traceContext(sd21, { batch: 2, tokens: 77 });

test('Stable Diffusion 2.1, batch 2, 768²', () => {
  const planned = plan(unet);
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
  expect(unet.parameters + context.parameters).toBe(865_910_724);
  expect(planned.arenaBytes).toBe(226_933_760);
  expect(planned.arenaBytes).toBe(peakBytes([...lifetimes(unet).values()]));
  expect(planFaults(planned)).toEqual([]);
  expect(planned.outputs).toMatchObject([{ name: 'sample', shape: [2, 4, 96, 96] }]);
});

test('heads of 64 channels at every level', () => {
  const sizes = plan(unet).ops.flatMap(({ op, attrs }) => (op === 'attention' ? [attrs] : []));
  expect(new Set(sizes.map(({ head_size }) => head_size))).toEqual(new Set([64]));
  expect(new Set(sizes.map(({ heads }) => heads))).toEqual(new Set([5, 10, 20]));
});

test('SD-Turbo, batch 1, 512²: 804 GFLOP with the context', () => {
  const turbo = plan(traceUNet(sd21, { batch: 1, height: 64, width: 64, tokens: 77 }));
  const text = plan(traceContext(sd21, { batch: 1, tokens: 77 }));
  expect((planFlops(turbo) + planFlops(text)) / 1e9).toBeCloseTo(804.3, 1);
});
