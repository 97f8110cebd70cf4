import { expect, it } from 'vitest';
import { bytes } from '../../sidecar/cli/options.ts';

it.each([
  ['8GiB', 8 * 2 ** 30],
  ['1.5 gib', 1.5 * 2 ** 30],
  ['500MB', 500e6],
  ['2k', 2000],
  ['123', 123],
  ['123B', 123],
])('%s is an amount of memory', (text, expected) => {
  expect(bytes(text)).toBe(expected);
});

it.each(['', '0', '-1', '1e9', 'GiB', '8 Gi B', '8GiBs', 'NaN', '99999999999999T'])('%j is none', (text) => {
  expect(() => bytes(text)).toThrow(/Expected an amount of memory such as 8GiB/);
});
