import { expect, test } from 'vitest';
import { formatPlan, lifetimes, plan, planFlops } from '../../sidecar/graph/planner.ts';
import { taesdConfig, taesdScale, traceTaesdDecode, traceTaesdEncode } from '../../sidecar/models/taesd.ts';
import { config } from '../support/configs.ts';
import { opCounts, peakBytes, planFaults } from '../support/plan-checks.ts';

const taesd = config(taesdConfig, 'taesd');
const encode = traceTaesdEncode(taesd, { batch: 1, height: 512, width: 512 });
const decode = traceTaesdDecode(taesd, { batch: 1, height: 64, width: 64 });

test('parameters: 2,445,063', () => {
  expect(encode.parameters + decode.parameters).toBe(2_445_063);
  expect(taesdScale(taesd)).toBe(8);
});

test('decode to 512²: 141 GFLOP, an eighteenth of the full decoder', async () => {
  const planned = plan(decode);
  expect(opCounts(planned)).toEqual({ to_nhwc: 1, to_nchw: 1, affine: 3, activation: 32, conv2d: 35 });
  expect(planFlops(planned) / 1e9).toBeCloseTo(141.4, 1);
  expect(planned.outputs).toMatchObject([{ name: 'image', shape: [1, 3, 512, 512] }]);
  expect(planned.arenaBytes).toBe(201_326_592);
  expect(planned.arenaBytes).toBe(peakBytes([...lifetimes(decode).values()]));
  expect(planFaults(planned)).toEqual([]);
  await expect(formatPlan(planned)).toMatchFileSnapshot('../fixtures/plans/taesd-decode.txt');
});

test('encode; sizes that are no whole latents are rounded up', () => {
  const planned = plan(encode);
  expect(opCounts(planned)).toEqual({ to_nhwc: 1, to_nchw: 1, affine: 1, activation: 30, conv2d: 35 });
  expect(planned.outputs).toMatchObject([{ name: 'latents', shape: [1, 4, 64, 64] }]);
  expect(planFaults(planned)).toEqual([]);
  const odd = plan(traceTaesdEncode(taesd, { batch: 1, height: 65, width: 100 }));
  expect(odd.outputs[0]!.shape).toEqual([1, 4, 9, 13]);
});
