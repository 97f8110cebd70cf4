import { describe, expect, test } from 'vitest';
import { shareGenerator } from '../../sidecar/random/batch.ts';
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

test('images that share a generator get their parts of the batch, in whatever order they ask', () => {
  const alone = new TorchGenerator(2);
  // 468 = 4·9·13 is no multiple of 16, so drawing image by image would give other numbers.
  const batches = [alone.randn(2 * 468), alone.randn(2 * 468)];
  const [first, second] = shareGenerator(new TorchGenerator(2), 2, 468);
  const part = (round: number, image: number) => batches[round]!.subarray(image * 468, (image + 1) * 468);
  expect(second!()).toEqual(part(0, 1));
  expect(second!()).toEqual(part(1, 1));
  expect(first!()).toEqual(part(0, 0));
  expect(first!()).toEqual(part(1, 0));
});
