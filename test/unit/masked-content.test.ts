import { expect, test } from 'vitest';
import { fillMasked } from '../../sidecar/engine/masked-content.ts';

const size = { width: 48, height: 40 };

/** A picture of slopes: red to the right, green downwards, blue both. */
function slopes(masked: (x: number, y: number) => number) {
  const rgb = new Uint8Array(3 * size.width * size.height);
  const mask = new Uint8Array(size.width * size.height);
  for (let y = 0; y < size.height; y++)
    for (let x = 0; x < size.width; x++) {
      rgb.set([5 * x, 6 * y, 2 * (x + y)], 3 * (y * size.width + x));
      mask[y * size.width + x] = masked(x, y);
    }
  return { rgb, mask };
}

const at = (rgb: Uint8Array, x: number, y: number) => {
  const i = 3 * (y * size.width + x);
  return [...rgb.subarray(i, i + 3)];
};

test('what is masked takes the colours around it', () => {
  const isWithin = (x: number) => x >= 12 && x < 40;
  const { rgb, mask } = slopes((x, y) => {
    if (!isWithin(x)) return 0;
    if (y === 9) return 100;
    return y >= 10 && y < 30 ? 255 : 0;
  });
  const filled = fillMasked(rgb, mask, size);
  // Pillow 12.3, whose layers have 8 bits: Gaussians of 256, 64, 16, 16, 4 (four times), 2 (twice) and 0 pixels of the
  // RGBa picture without the masked part, each laid over those before by alpha_composite.
  const reference: [x: number, y: number, rgb: number[]][] = [
    [20, 9, [100, 50, 55]],
    [12, 10, [54, 55, 41]],
    [15, 12, [64, 58, 47]],
    [25, 15, [121, 82, 76]],
    [26, 20, [126, 120, 91]],
    [38, 25, [202, 154, 131]],
    [39, 29, [197, 177, 139]],
  ];
  for (const [x, y, expected] of reference) {
    const off = at(filled, x, y).map((value, c) => Math.abs(value - expected[c]!));
    expect([x, y, Math.max(...off) <= 3]).toEqual([x, y, true]);
  }
  const kept = mask.findIndex(
    (grey, i) => grey === 0 && [0, 1, 2].some((c) => filled[3 * i + c] !== rgb[3 * i + c]),
  );
  expect(kept).toBe(-1);
});

test('nothing, and everything, is masked', () => {
  const none = slopes(() => 0);
  expect(fillMasked(none.rgb, none.mask, size)).toEqual(none.rgb);
  const all = slopes(() => 255);
  expect(new Set(fillMasked(all.rgb, all.mask, size))).toEqual(new Set([0]));
});

test('what stays of one colour fills all with it, however little it is', () => {
  const { rgb, mask } = slopes((x, y) => (x + y === 0 ? 0 : 255));
  rgb.set([200, 100, 50]);
  const filled = fillMasked(rgb, mask, size);
  for (const [x, y] of [
    [0, 0],
    [1, 0],
    [24, 20],
    [47, 39],
  ] as const)
    expect(at(filled, x, y)).toEqual([200, 100, 50]);
});

test('beyond the reach of what stays all is black, and before it no colour is stranger than those that stay', () => {
  const wide = { width: 1700, height: 30 };
  const pixels = wide.width * wide.height;
  const xOf = (i: number) => i % wide.width;
  // 100…163, and as little in common between the opacities of neighbours: what running sums round.
  const rgb = Uint8Array.from({ length: 3 * pixels }, (_, i) => 100 + ((i * 2654435761) >>> 26));
  const mask = Uint8Array.from({ length: pixels }, (_, i) => (xOf(i) < 60 ? ((i * 40503) >>> 3) % 256 : 255));
  const filled = fillMasked(rgb, mask, wide);
  const isStrange = (i: number) => {
    const colour = filled.subarray(3 * i, 3 * i + 3);
    const isBlack = colour.every((value) => value === 0);
    const isKnown = colour.every((value) => value >= 99 && value <= 164);
    return xOf(i) < 60 + 768 ? !isKnown && (xOf(i) < 60 + 700 || !isBlack) : !isBlack;
  };
  const strange = Array.from({ length: pixels }, (_, i) => i).filter((i) => mask[i] === 255 && isStrange(i));
  expect(strange).toEqual([]);
});
