import { describe, expect, it } from 'vitest';
import { residualFactors } from '../../sidecar/engine/control/factors.ts';
import { parseUnits } from '../../sidecar/engine/control/units.ts';

const SD15 = { layers_per_block: [2, 2, 2, 2] };
const XL = { layers_per_block: [2, 2, 2] };
const unit = (fields: object = {}) => parseUnits([{ model: 'canny', ...fields }])[0]!;
const first = { i: 0, total: 1, step: 0 };

/** Steps of `total` in which a ControlNet has a part. */
const stepsOf = (fields: object, total: number) =>
  [...Array(total).keys()].filter((i) => residualFactors(unit(fields), SD15, false, { i, total, step: i }));

describe('the window', () => {
  // Of diffusers: 1 - (i / n < start or (i + 1) / n > end).
  it.each([
    [{}, 5, [0, 1, 2, 3, 4]],
    [{ start: 0.2, end: 0.7 }, 5, [1, 2]],
    [{ end: 0.5 }, 5, [0, 1]],
    [{ start: 0.5 }, 5, [3, 4]],
    [{ start: 0.3, end: 0.6 }, 10, [3, 4, 5]],
    [{ start: 0.5, end: 0.5 }, 4, []],
    [{ start: 1 }, 4, []],
    [{ end: 0 }, 4, []],
    [{ end: 0.9 }, 1, []],
  ])('%o of %i steps: %j', (window, total, steps) => {
    expect(stepsOf(window, total)).toEqual(steps);
  });

  it('is as diffusers counts for every window of tenths', () => {
    for (let total = 1; total <= 12; total++)
      for (let a = 0; a <= 10; a++)
        for (let b = a; b <= 10; b++) {
          const [start, end] = [a / 10, b / 10];
          const kept = [...Array(total).keys()].filter((i) => !(i / total < start || (i + 1) / total > end));
          expect(stepsOf({ start, end }, total)).toEqual(kept);
        }
  });
});

describe('factors', () => {
  const close = (received: number[] | undefined, expected: number[]) => {
    expect(received).toHaveLength(expected.length);
    for (const [i, value] of expected.entries()) expect(received![i]).toBeCloseTo(value, 12);
  };

  it('are the scale of the step; none where all are 0', () => {
    close(residualFactors(unit({ scale: [0.7] }), SD15, false, first), Array(13).fill(0.7));
    const changing = unit({ scale: [1, 0, 0.5] });
    close(residualFactors(changing, SD15, false, { i: 2, total: 3, step: 2 }), Array(13).fill(0.5));
    expect(residualFactors(changing, SD15, false, { i: 1, total: 3, step: 1 })).toBeUndefined();
    expect(residualFactors(unit({ scale: [0] }), SD15, true, first)).toBeUndefined();
    expect(residualFactors(unit({ levelScale: Array(13).fill(0) }), SD15, false, first)).toBeUndefined();
  });

  it('fall off towards the shallow levels in the modes that favour one side', () => {
    const soft = Array.from({ length: 13 }, (_, i) => 0.5 * 0.825 ** (12 - i));
    for (const mode of ['prompt', 'control'])
      close(residualFactors(unit({ mode, scale: [0.5] }), SD15, false, first), soft);
    // Of XL the first of the same: its middle does not have the whole.
    const xl = Array.from({ length: 10 }, (_, i) => 0.825 ** (12 - i));
    close(residualFactors(unit({ mode: 'prompt' }), XL, false, first), xl);
  });

  it('of levels come on top, also of guess mode', () => {
    const levelScale = Array.from({ length: 13 }, (_, i) => i / 2);
    const guess = Array.from({ length: 13 }, (_, i) => i * 10 ** (i / 12 - 1));
    close(residualFactors(unit({ levelScale, scale: [2] }), SD15, true, first), guess);
  });
});

describe('units', () => {
  it('have defaults', () => {
    expect(unit({ image: new Uint8Array(), scale: [], mode: '', resize: '', preprocessor: '' })).toEqual({
      ...{ model: 'canny', image: undefined, preprocessor: 'none', preprocessorOptions: {} },
      ...{ resize: 'crop', scale: [1], start: 0, end: 1, mode: 'balanced', levelScale: [] },
    });
  });

  it.each([
    [{ model: '' }, 'control[1].model'],
    [{ model: 'a\nb' }, 'control[1].model'],
    [{ image: 'text' }, 'control[1].image'],
    [{ scale: [11] }, 'control[1].scale'],
    [{ scale: [Number.NaN] }, 'control[1].scale'],
    [{ start: -0.1 }, 'control[1].start'],
    [{ end: 2 }, 'control[1].end'],
    [{ start: 0.6, end: 0.4 }, 'control[1].end'],
    [{ mode: 'strict' }, 'control[1].mode'],
    [{ resize: 'tile' }, 'control[1].resize'],
    [{ levelScale: ['a'] }, 'control[1].level_scale'],
    [{ preprocessorOptions: { a: Number.POSITIVE_INFINITY } }, 'control[1].preprocessor_options'],
  ])('%o is refused, naming %s', (fields, field) => {
    const parse = () => parseUnits([{ model: 'a' }, { model: 'b', ...fields }]);
    expect(parse).toThrow(expect.objectContaining({ code: 'invalid_argument', field }));
    expect(parse).toThrow(`for ${field} but received`);
  });
});
