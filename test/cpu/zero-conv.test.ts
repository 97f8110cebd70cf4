import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Graph, Weights } from '../../sidecar/graph/builder.ts';
import { plan } from '../../sidecar/graph/planner.ts';
import { zeroConv } from '../../sidecar/models/layers.ts';
import { type NativeDevice, native } from '../../sidecar/native.ts';
import { wave } from '../support/deltas.ts';

// What a zero convolution leaves as it was is so bit for bit.

const [images, size, C] = [2, 5, 24];
const shape = [images, size, size, C];
const bits = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length);
const filled = (sizes: number[], value: number) => ({
  ...wave('', sizes),
  data: new Float32Array(sizes.reduce((a, b) => a * b, 1)).fill(value),
});

const x = wave('x', shape).data;
const onto = wave('onto', shape).data.map((v, i) => (i % 3 === 0 ? -0 : v));

describe.each(['cpu', 'cpu-reference'])('%s', (id) => {
  let device: NativeDevice;
  beforeAll(async () => {
    device = await native().open({ device: id, threads: 2, poison: true });
  });
  afterAll(() => device.dispose());

  /** Two levels, of which the second is asked for. */
  async function run(inputs: { x: Float32Array; scale: number[]; onto?: Float32Array }, zeros = false) {
    const g = new Graph('zero-conv');
    const [input, scale] = [g.input('x', shape), g.input('scale', [2, images])];
    const target = inputs.onto && g.input('onto', shape);
    g.output('y', zeroConv(g, new Weights(g), input, { scale, level: 1, onto: target }));
    const sizes: [string, number[]][] = [
      ['weight', [C, C]],
      ['bias', [C]],
    ];
    const weights = await device.loadWeights(
      sizes.map(([name, size]) => ({ ...(zeros ? filled(size, 0) : wave(name, size)), name })),
    );
    const program = await device.compile(plan(g), weights);
    const { y } = await program.run({ ...inputs, scale: Float32Array.from([9, 9, ...inputs.scale]) });
    await program.dispose();
    await weights.dispose();
    return y as Float32Array;
  }

  test('a scale of 0 gives what it is added to, whatever the input', async () => {
    const broken = x.map((v, i) => (i % 7 === 0 ? Number.NaN : v));
    expect(bits(await run({ x: broken, scale: [0, 0], onto }))).toEqual(bits(onto));
    expect(bits(await run({ x: broken, scale: [0, 0] }))).toEqual(new Uint32Array(x.length));
  });

  test('a scale of 0 for one image leaves the other’s as it is', async () => {
    const [half, both] = [await run({ x, scale: [0, 0.5], onto }), await run({ x, scale: [2, 0.5], onto })];
    const n = x.length / images;
    expect(bits(half.slice(0, n))).toEqual(bits(onto.slice(0, n)));
    expect(bits(half.slice(n))).toEqual(bits(both.slice(n)));
    expect(both.slice(0, n)).not.toEqual(onto.slice(0, n));
  });

  test('weights of zero give what they are added to', async () => {
    expect(bits(await run({ x, scale: [1, -2], onto }, true))).toEqual(bits(onto));
  });
});
