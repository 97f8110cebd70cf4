import { describe, expect, test } from 'vitest';
import { formatPlan, plan, planFlops } from '../../sidecar/graph/planner.ts';
import { traceVaeDecode, traceVaeEncode, vaeConfig, vaeScale } from '../../sidecar/models/vae.ts';
import { config } from '../support/configs.ts';
import { opCounts, planFaults } from '../support/plan-checks.ts';

const vae = config(vaeConfig, 'vae-sd');
const encode = traceVaeEncode(vae, { batch: 1, height: 512, width: 512 });
const decode = traceVaeDecode(vae, { batch: 1, height: 64, width: 64 });

test('parameters: 83,653,863', () => {
  expect(encode.parameters + decode.parameters).toBe(83_653_863);
  expect(decode.parameters).toBe(49_490_199);
  expect(vaeScale(vae)).toBe(8);
});

describe('decode to 512²', () => {
  const planned = plan(decode);
  test('ops, shapes, arena, cost', () => {
    const counts = { to_nhwc: 1, to_nchw: 1, conv2d: 36, group_norm: 30, linear: 2, attention: 1 };
    expect(opCounts(planned)).toEqual(counts);
    expect(planned.inputs).toMatchObject([{ name: 'latents', shape: [1, 4, 64, 64] }]);
    expect(planned.outputs).toMatchObject([{ name: 'image', shape: [1, 3, 512, 512] }]);
    expect(planned.arenaBytes).toBe(671_088_640);
    expect(planFlops(planned) / 1e9).toBeCloseTo(2514.5, 1);
    expect(planFaults(planned)).toEqual([]);
  });

  test('is the golden plan', async () => {
    await expect(formatPlan(planned)).toMatchFileSnapshot('../fixtures/plans/vae-decode.txt');
  });
});

describe('encode 512²', () => {
  const planned = plan(encode);
  test('ops, shapes, arena', () => {
    const counts = { to_nhwc: 1, to_nchw: 2, conv2d: 28, group_norm: 22, linear: 2, attention: 1 };
    expect(opCounts(planned)).toEqual(counts);
    expect(planned.outputs).toMatchObject([
      { name: 'mean', shape: [1, 4, 64, 64] },
      { name: 'logvar', shape: [1, 4, 64, 64] },
    ]);
    expect(planned.arenaBytes).toBe(402_653_184);
    expect(planFaults(planned)).toEqual([]);
  });

  test('is the golden plan', async () => {
    await expect(formatPlan(planned)).toMatchFileSnapshot('../fixtures/plans/vae-encode.txt');
  });

  test('images are whole latents', () => {
    expect(() => traceVaeEncode(vae, { batch: 1, height: 512, width: 500 })).toThrow(
      'Expected an image of multiples of 8 pixels but received 500x512',
    );
  });
});

test('without quantisation convolutions and attention', () => {
  const bare = { ...vae, use_quant_conv: false, use_post_quant_conv: false, mid_block_add_attention: false };
  const g = traceVaeDecode(bare, { batch: 2, height: 3, width: 5 });
  expect([...g.params.keys()].filter((name) => /quant|attentions/.test(name))).toEqual([]);
  expect(plan(g).outputs[0]!.shape).toEqual([2, 3, 24, 40]);
});
