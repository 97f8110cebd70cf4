import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Graph, joined, Weights } from '../../sidecar/graph/builder.ts';
import { ALIGNMENT, formatPlan, type Lifetime, pack, plan } from '../../sidecar/graph/planner.ts';
import { peakBytes, planFaults } from '../support/plan-checks.ts';

const lifetime = fc
  .tuple(fc.nat(40), fc.nat(40), fc.integer({ min: 1, max: 50 }))
  .map(([a, b, n]): Lifetime => ({ first: Math.min(a, b), last: Math.max(a, b), bytes: n * ALIGNMENT }));

describe('pack', () => {
  test('buffers that are live at once never overlap', () => {
    fc.assert(
      fc.property(fc.array(lifetime, { maxLength: 60 }), (buffers) => {
        const { offsets, bytes } = pack(buffers);
        for (const [i, a] of buffers.entries())
          for (const [j, b] of buffers.slice(0, i).entries()) {
            const together = a.first <= b.last && b.first <= a.last;
            const apart = offsets[i]! + a.bytes <= offsets[j]! || offsets[j]! + b.bytes <= offsets[i]!;
            expect(!together || apart).toBe(true);
          }
        expect(offsets.every((offset) => offset % ALIGNMENT === 0)).toBe(true);
        expect(bytes).toBe(Math.max(0, ...buffers.map((buffer, i) => offsets[i]! + buffer.bytes)));
        expect(bytes).toBeGreaterThanOrEqual(peakBytes(buffers));
      }),
    );
  });

  test('reuses the lowest gap that fits', () => {
    const buffers = [
      { bytes: 640, first: 0, last: 1 },
      { bytes: 512, first: 0, last: 9 },
      { bytes: 256, first: 2, last: 3 },
      { bytes: 384, first: 2, last: 3 },
    ];
    expect(pack(buffers)).toEqual({ offsets: [0, 640, 384, 0], bytes: 1152 });
  });
});

describe('plan', () => {
  test('any graph reads only what it has written', () => {
    const step = fc.record({
      x: fc.nat(),
      residual: fc.option(fc.nat()),
      features: fc.integer({ min: 1, max: 40 }),
    });
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 1, maxLength: 40 }),
        fc.array(fc.nat(), { maxLength: 3 }),
        (steps, outs) => {
          const g = new Graph('random');
          const tensors = [g.input('a', [3, 5]), g.input('b', [3, 7])];
          for (const [i, { x, residual, features }] of steps.entries()) {
            const from = tensors[x % tensors.length]!;
            const same = residual === null ? undefined : tensors[residual % tensors.length]!;
            const N = same?.shape[1] ?? features;
            const weight = g.param(`${i}`, [N, from.shape[1]!]);
            tensors.push(g.op('linear', `${i}`, { x: from, residual: same }, { weight }));
          }
          for (const [i, out] of new Set(outs.map((n) => n % tensors.length)).entries())
            g.output(`${i}`, tensors[out]!);
          expect(planFaults(plan(g))).toEqual([]);
        },
      ),
    );
  });

  test('a reshape costs nothing and keeps its bytes alive', () => {
    const g = new Graph('reshape');
    const x = g.op('to_nhwc', 'in', { x: g.input('x', [1, 4, 2, 2]) });
    const tokens = g.reshape(x, [1, 4, 4]);
    const y = g.op('activation', 'a', { x: tokens }, {}, { fn: 'silu' });
    g.output('y', g.op('linear', 'b', { x: y, residual: tokens }, { weight: g.param('w', [4, 4]) }));
    const { ops } = plan(g);
    expect(ops[2]!.inputs.residual!.offset).toBe(ops[0]!.output.offset);
    expect(planFaults(plan(g))).toEqual([]);
    expect(() => g.reshape(x, [1, 4, 5])).toThrow(
      'Expected 16 elements for a reshape but received [1, 4, 5]',
    );
  });

  test('is plain JSON, and one line an op as text', () => {
    const g = new Graph('mlp');
    const w = new Weights(g).at('blocks', 0);
    const weights = {
      weight: joined([w.at('q').param('weight', [2, 4]), w.at('k').param('weight', [2, 4])]),
    };
    g.output('y', g.op('linear', w.path, { x: g.input('x', [3, 4]) }, weights, { activation: 'silu' }));
    expect(JSON.parse(JSON.stringify(plan(g)))).toEqual(plan(g));
    expect(plan(g).ops[0]!.weights.weight).toEqual({
      names: ['blocks.0.q.weight', 'blocks.0.k.weight'],
      shape: [4, 4],
    });
    expect(g.parameters).toBe(16);
    expect(formatPlan(plan(g))).toBe(
      [
        'plan mlp, 1 ops, arena 128 bytes',
        'input [3,4] f32 @arena+0x0 x',
        'linear [3,4] @arena+0x40 ← x [3,4] @arena+0x0 weight [4,4] activation="silu" blocks.0',
        'output [3,4] f32 @arena+0x40 y',
        '',
      ].join('\n'),
    );
  });

  test('names are given once, parameters with one shape', () => {
    const g = new Graph('names');
    g.output('y', g.input('x', [1]));
    expect(() => g.input('x', [1])).toThrow('received x twice');
    expect(() => g.output('y', g.input('z', [1]))).toThrow('received y twice');
    g.param('w', [2, 3]);
    expect(() => g.param('w', [3, 2])).toThrow('Expected [2, 3] for w but received [3, 2]');
  });
});
