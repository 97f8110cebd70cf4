import { describe, expect, test } from 'vitest';
import { TorchGenerator } from '../../sidecar/random/torch.ts';
import { fixtureCase } from '../support/fixtures.ts';

describe('TorchGenerator is torch.randn', () => {
  const { tensors } = fixtureCase('torch-randn');

  test('bit for bit, for every length and seed of the reference', () => {
    const cases = Object.entries(tensors).filter(([name]) => /\.n\d+$/.test(name));
    expect(cases.length).toBe(24);
    for (const [name, { data }] of cases) {
      const [, seed, n] = /seed(\d+)\.n(\d+)/.exec(name)!;
      expect([name, new TorchGenerator(BigInt(seed!)).randn(Number(n))]).toEqual([name, data]);
    }
  });

  test('consecutive draws continue one sequence', () => {
    for (const seed of [0, 42, 2 ** 32 + 5, 1234567890123]) {
      const generator = new TorchGenerator(seed);
      expect(generator.randn(256)).toEqual(tensors[`out.seed${seed}.first4x8x8`]!.data);
      expect(generator.randn(256)).toEqual(tensors[`out.seed${seed}.second4x8x8`]!.data);
    }
  });

  test('short and long draws in turn: the second normal of a pair waits for the next short one', () => {
    const { params, tensors } = fixtureCase('torch-randn-mixed');
    const generator = new TorchGenerator(params.seed);
    for (const [i, n] of params.sizes.entries()) {
      expect([n, generator.randn(n)]).toEqual([n, tensors[`out.${i}`]!.data]);
    }
  });
});

test('the low 32 bits of a seed count', () => {
  const of = (seed: number | bigint) => [...new TorchGenerator(seed).randn(20)];
  expect(of(2 ** 32 + 5)).toEqual(of(5));
  expect(of(-1)).toEqual(of(2n ** 64n - 1n));
  expect(of(-1)).toEqual(of(0xffffffff));
  expect(of(6)).not.toEqual(of(5));
});

test.each([1.5, Number.NaN, 2 ** 53, 2n ** 64n, -(2n ** 63n) - 1n])('a seed of %s is refused', (seed) => {
  expect(() => new TorchGenerator(seed)).toThrow(/Expected a whole number .* for seed .* but received/);
});

test('no draws at all are an empty array', () => {
  expect(new TorchGenerator(1).randn(0)).toEqual(new Float32Array(0));
});
