import { describe, expect, test } from 'vitest';
import { formatPlan, lifetimes, plan, planFlops } from '../../sidecar/graph/planner.ts';
import { traceUnconditionalUNet, unconditionalConfig } from '../../sidecar/models/unet-unconditional.ts';
import { traceVqDecode, traceVqEncode, vqConfig, vqScale } from '../../sidecar/models/vq.ts';
import { config } from '../support/configs.ts';
import { opCounts, peakBytes, planFaults } from '../support/plan-checks.ts';

const celebahq = config(unconditionalConfig, 'unet-ldm-celebahq');
const vq = config(vqConfig, 'vq-ldm-celebahq');

describe('U-Net of the CelebA-HQ model, 64² latents', () => {
  const g = traceUnconditionalUNet(celebahq, { batch: 1, height: 64, width: 64 });
  const planned = plan(g);

  test('ops, parameters, arena, cost', () => {
    expect(opCounts(planned)).toEqual({
      to_nhwc: 1,
      timestep_embedding: 1,
      linear: 56,
      conv2d: 67,
      group_norm: 61,
      attention: 16,
      to_nchw: 1,
    });
    expect(g.parameters).toBe(274_056_163);
    expect(planned.arenaBytes).toBe(33_033_728);
    expect(planned.arenaBytes).toBe(peakBytes([...lifetimes(g).values()]));
    expect(planFlops(planned) / 1e9).toBeCloseTo(202.4, 1);
    expect(planFaults(planned)).toEqual([]);
    expect(planned.inputs.map(({ name, shape }) => [name, shape])).toEqual([
      ['sample', [1, 3, 64, 64]],
      ['timestep', [1]],
    ]);
  });

  test('heads of 32 channels', () => {
    const heads = planned.ops.flatMap(({ op, attrs }) => (op === 'attention' ? [attrs] : []));
    expect(new Set(heads.map(({ head_size }) => head_size))).toEqual(new Set([32]));
    expect(new Set(heads.map(({ heads }) => heads))).toEqual(new Set([14, 21, 28]));
  });

  test('is the golden plan', async () => {
    await expect(formatPlan(planned)).toMatchFileSnapshot('../fixtures/plans/unet-ldm-celebahq.txt');
  });
});

test('DDPM’s U-Net, over pixels: one head, six levels', () => {
  const g = traceUnconditionalUNet(config(unconditionalConfig, 'unet-ddpm-cat'), {
    batch: 1,
    height: 256,
    width: 256,
  });
  const planned = plan(g);
  expect(g.parameters).toBe(113_673_219);
  expect(planned.ops).toHaveLength(222);
  expect(planned.arenaBytes).toBe(234_883_072);
  const attention = planned.ops.filter(({ op }) => op === 'attention');
  expect(attention.map(({ attrs }) => attrs.heads)).toEqual([1, 1, 1, 1, 1, 1]);
});

test('samples in 0…1 are centred first', () => {
  const g = traceUnconditionalUNet(
    { ...celebahq, center_input_sample: true },
    { batch: 1, height: 8, width: 8 },
  );
  expect(g.nodes.find(({ op }) => op === 'affine')!.attrs).toEqual({ scale: 2, shift: -1 });
});

test('a middle without attention, or none at all', () => {
  const counts = (changes: object) =>
    opCounts(plan(traceUnconditionalUNet({ ...celebahq, ...changes }, { batch: 1, height: 8, width: 8 })));
  const [down, up] = [celebahq.attention.down, celebahq.attention.up];
  expect(counts({ attention: { down, mid: 'none', up } })).toMatchObject({ attention: 15, conv2d: 67 });
  expect(counts({ attention: { down, mid: 'none', up }, mid_resnets: 0 })).toMatchObject({ conv2d: 63 });
});

describe('VQ-f4', () => {
  const encode = traceVqEncode(vq, { batch: 1, height: 256, width: 256 });
  const decode = traceVqDecode(vq, { batch: 1, height: 64, width: 64 });

  test('parameters: 55,322,782', () => {
    expect(encode.parameters + decode.parameters).toBe(55_322_782);
    expect(vqScale(vq)).toBe(4);
  });

  test('decode quantises first', async () => {
    const planned = plan(decode);
    expect(planned.ops.slice(0, 3).map(({ op, scope }) => [op, scope])).toEqual([
      ['to_nhwc', 'input'],
      ['quantize', 'quantize.embedding'],
      ['conv2d', 'post_quant_conv'],
    ]);
    expect(planned.ops).toHaveLength(59);
    expect(planned.outputs).toMatchObject([{ name: 'image', shape: [1, 3, 256, 256] }]);
    expect(planned.arenaBytes).toBe(167_772_160);
    expect(planFaults(planned)).toEqual([]);
    await expect(formatPlan(planned)).toMatchFileSnapshot('../fixtures/plans/vqvae-decode.txt');
  });

  test('encode', () => {
    const planned = plan(encode);
    expect(planned.outputs).toMatchObject([{ name: 'latents', shape: [1, 3, 64, 64] }]);
    expect(planFaults(planned)).toEqual([]);
    expect(() => traceVqEncode(vq, { batch: 1, height: 256, width: 254 })).toThrow('multiples of 4 pixels');
  });
});
