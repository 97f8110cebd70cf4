import { expect, it } from 'vitest';
import { anySize, bytes, corner } from '../../sidecar/cli/options.ts';

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

it('sizes and corners of Stable Diffusion XL', () => {
  expect(anySize('1x65536')).toEqual({ width: 1, height: 65_536 });
  expect(corner('64,0')).toEqual({ left: 64, top: 0 });
});

it.each(['', '0x8', '8x0', '8', '65537x8', '-8x8', '8x8x8', '8.5x8'])('%j is no size', (text) => {
  expect(() => anySize(text)).toThrow(/Expected WIDTHxHEIGHT/);
});

it.each(['', '8', '8,', '8x8', '-1,0', '0,65537', '1,2,3'])('%j is no corner', (text) => {
  expect(() => corner(text)).toThrow(/Expected LEFT,TOP/);
});
