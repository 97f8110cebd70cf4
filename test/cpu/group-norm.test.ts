import { expect, test } from 'vitest';
import type { Plan } from '../../sidecar/graph/plan.ts';
import { native } from '../../sidecar/native.ts';

// Two values in a group, as at the deepest level of a small image: they may lie close together and far from zero.
test.each([1, 100, 10_000])('a group of two values about %d', async (about) => {
  const [groups, channels] = [16, 32];
  const x = Float32Array.from({ length: channels }, (_, c) => about + Math.sin(c * 12.9898) * 0.01 * about);
  const weight = Float32Array.from({ length: channels }, (_, c) => 1 + 0.2 * Math.cos(c));
  const bias = Float32Array.from({ length: channels }, (_, c) => 0.1 * Math.sin(c));
  const eps = 1e-5;
  const expected = Array.from(x, (value, c) => {
    const pair = [x[c - (c % 2)]!, x[c - (c % 2) + 1]!];
    const mean = (pair[0]! + pair[1]!) / 2;
    const variance = ((pair[0]! - mean) ** 2 + (pair[1]! - mean) ** 2) / 2;
    return ((value - mean) / Math.sqrt(variance + eps)) * weight[c]! + bias[c]!;
  });

  const f32 = (shape: number[], offset: number) => ({ dtype: 'f32' as const, shape, offset });
  const plan: Plan = {
    version: 1,
    name: 'group_norm',
    arenaBytes: 256,
    inputs: [{ name: 'x', ...f32([1, 1, 1, channels], 0) }],
    outputs: [{ name: 'y', ...f32([1, 1, 1, channels], 128) }],
    ops: [
      {
        op: 'group_norm',
        scope: 'norm',
        inputs: { x: f32([1, 1, 1, channels], 0) },
        weights: {
          weight: { names: ['weight'], shape: [channels] },
          bias: { names: ['bias'], shape: [channels] },
        },
        attrs: { groups, eps, silu: false },
        output: f32([1, 1, 1, channels], 128),
      },
    ],
  };
  const device = await native().open({ device: 'cpu' });
  const sources = Object.entries({ weight, bias }).map(([name, data]) => ({
    name,
    dtype: 'F32' as const,
    shape: [channels],
    data,
  }));
  const program = await device.compile(plan, await device.loadWeights(sources));
  const { y } = (await program.run({ x })) as { y: Float32Array };
  await device.dispose();
  for (const [c, value] of expected.entries()) expect(Math.abs(y[c]! - value)).toBeLessThan(1e-6);
});
