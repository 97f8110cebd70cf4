import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ServiceError } from '../../sidecar/errors.ts';
import { choosePreprocessor, hintOf, hintTensor, preprocess } from '../../sidecar/preprocessors/index.ts';
import { otsu } from '../../sidecar/preprocessors/otsu.ts';
import { ade20k, coco } from '../../sidecar/preprocessors/palettes.ts';
import { readResizeMode, scale, visible } from '../../sidecar/preprocessors/resize.ts';
import { preprocessors } from '../../sidecar/preprocessors/table.ts';
import { difference, hintCases, picture } from '../support/hints.ts';

const flat = (width: number, height: number, values: number[]) => ({
  data: Uint8Array.from({ length: 3 * width * height }, (_, i) => values[i % values.length]!),
  width,
  height,
});
const none = choosePreprocessor('none');

describe('preprocessors', () => {
  it.each(hintCases.filter(({ preprocessor }) => preprocessor))(
    'agree with OpenCV: $preprocessor, $input $options',
    async ({ input, output, preprocessor, options, within }) => {
      const expected = await picture(output);
      const hint = preprocess(choosePreprocessor(preprocessor!, options), await picture(input));
      expect([hint.width, hint.height]).toEqual([expected.width, expected.height]);
      expect(difference(hint.data, expected.data).largest).toBeLessThanOrEqual(within!);
    },
  );

  it('canny finds something in the photograph, and not everything', async () => {
    const hint = preprocess(choosePreprocessor('canny'), await picture('photo'));
    const share = hint.data.filter((value) => value === 255).length / hint.data.length;
    expect(share).toBeGreaterThan(0.02);
    expect(share).toBeLessThan(0.2);
  });
});

describe('each', () => {
  const run = (name: string, options: Record<string, number>, pixels: number[], mask?: number[]) => {
    const image = { data: Uint8Array.from(pixels), width: pixels.length / 3, height: 1 };
    return [...preprocess(choosePreprocessor(name, options), image, mask && Uint8Array.from(mask)).data];
  };
  const grays = (...values: number[]) => values.flatMap((value) => [value, value, value]);

  it('scribble: takes for lines whichever there is less of', () => {
    expect(run('scribble', {}, grays(250, 10, 250, 128))).toEqual(grays(0, 255, 0, 0));
    expect(run('scribble', {}, grays(5, 200, 5, 126))).toEqual(grays(0, 255, 0, 0));
    // A colour is as dark as its darkest channel.
    expect(run('scribble', {}, [255, 255, 0, ...grays(255, 255)])).toEqual(grays(255, 0, 0));
  });

  it('invert: twice is the picture', async () => {
    const { data } = await picture('photo');
    expect(run('invert', {}, [0, 1, 255])).toEqual([255, 254, 0]);
    expect(run('invert', {}, run('invert', {}, [...data]))).toEqual([...data]);
  });

  it('inpaint: −1 where the mask is above a half, bytes of 255 elsewhere', () => {
    const hint = run('inpaint', {}, [0, 51, 255, 9, 9, 9, 1, 2, 3], [0, 128, 127]);
    expect(hint).toEqual([0, 0.2, 1, -1, -1, -1, 1 / 255, 2 / 255, 3 / 255].map(Math.fround));
  });

  it('inpaint: paints on beyond a picture that is fitted', () => {
    const image = flat(2, 2, [255]);
    const hint = hintOf(choosePreprocessor('inpaint_only'), image, { width: 4, height: 2 }, 'fit');
    expect([...hintTensor(hint).subarray(0, 8)]).toEqual([-1, 1, 1, -1, -1, 1, 1, -1]);
  });

  it('inpaint: the mask is scaled and cut as the picture is', () => {
    const image = flat(4, 2, [255]);
    const mask = Uint8Array.from([255, 255, 0, 0, 255, 255, 0, 0]);
    const hint = hintOf(choosePreprocessor('inpaint'), image, { width: 1, height: 1 }, 'crop', mask);
    // Columns 1 and 2 are seen, half of them masked: 128 of 255.
    expect(hint.data[0]).toBe(-1);
    const wide = hintOf(choosePreprocessor('inpaint'), image, { width: 2, height: 1 }, 'crop', mask);
    expect([...wide.data]).toEqual([-1, -1, -1, 1, 1, 1]);
  });

  it('segmentation: each pixel comes to the nearest of the palette, and its colours stay', async () => {
    expect([ade20k.length, coco.length]).toEqual([150, 133]);
    expect(run('segmentation', {}, [118, 121, 123, 7, 228, 231])).toEqual([120, 120, 120, 6, 230, 230]);
    for (const [palette, colours] of [ade20k, coco].entries()) {
      const own = colours.flatMap((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255]);
      expect(run('segmentation', { palette }, own)).toEqual(own);
    }
    const photo = await picture('photo');
    const hint = hintOf(choosePreprocessor('seg'), photo, { width: 80, height: 200 }, 'crop');
    for (let i = 0; i < hint.data.length; i += 3)
      expect(ade20k).toContain((hint.data[i]! << 16) | (hint.data[i + 1]! << 8) | hint.data[i + 2]!);
  });

  it('none and tile without sampling: the picture itself', () => {
    expect(run('none', {}, [1, 2, 3])).toEqual([1, 2, 3]);
    expect(run('tile', { down_sampling_rate: 1.09 }, [1, 2, 3])).toEqual([1, 2, 3]);
  });
});

describe('scaling', () => {
  it.each(hintCases.filter(({ size }) => size))(
    'is OpenCV’s by area, cubic and nearest, to a level: $size $sampling',
    async ({ input, output, size, sampling }) => {
      const [width, height] = size!;
      const image = await picture(input);
      const scaled = scale(image, visible(image, { width, height }, 'stretch'), sampling!);
      const { largest, share } = difference(scaled.data, (await picture(output)).data);
      expect(largest).toBeLessThanOrEqual(sampling === 'smooth' ? 1 : 0);
      expect(share).toBeLessThan(1e-3);
    },
  );

  it('crops to the middle, fits with black beside, stretches', () => {
    // Red, green, blue, white from left to right.
    const image = {
      data: Uint8Array.from([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255]),
      width: 4,
      height: 1,
    };
    const size = { width: 2, height: 1 };
    expect([...hintOf(none, image, size, 'crop').data]).toEqual([0, 255, 0, 0, 0, 255]);
    const square = hintOf(none, image, { width: 4, height: 4 }, 'fit').data;
    expect(square.slice(12, 24)).toEqual(image.data);
    expect(difference(square.slice(24), new Uint8Array(24)).largest).toBe(0);
    expect(hintOf(none, image, { width: 4, height: 2 }, 'stretch').data).toEqual(
      Uint8Array.from([...image.data, ...image.data]),
    );
  });

  it('leaves hints of the right size byte for byte', async () => {
    const image = await picture('photo');
    for (const mode of ['crop', 'fit', 'stretch'] as const)
      expect(hintOf(none, image, image, mode).data).toBe(image.data);
  });

  it('keeps two colours two, and few their own', async () => {
    const { data, ...whole } = preprocess(choosePreprocessor('canny'), await picture('photo'));
    const edges = { data: Uint8Array.from(data), ...whole };
    for (const size of [
      { width: 70, height: 60 },
      { width: 400, height: 320 },
    ]) {
      const scaled = hintOf(none, edges, size, 'stretch').data;
      expect(new Set(scaled)).toEqual(new Set([0, 255]));
    }
    const image = await picture('steps');
    const scaled = hintOf(none, image, { width: 100, height: 33 }, 'stretch').data;
    expect(new Set(scaled)).toEqual(new Set([0, 60, 120, 180]));
  });

  it('makes of a line one that is as wide as the picture is made large', () => {
    const image = flat(9, 9, [0]);
    for (let y = 0; y < 9; y++) image.data.fill(255, 3 * (9 * y + 4), 3 * (9 * y + 5));
    const { data } = hintOf(none, image, { width: 36, height: 36 }, 'stretch');
    const rows = data.filter((value, i) => i % 3 === 0 && value === 255).length / 36;
    expect([4, 6]).toContain(rows);
  });

  it('takes any shape, of however much of it is seen', () => {
    const tower = flat(1, 4096, [10, 20, 30]);
    for (const mode of ['crop', 'fit', 'stretch'] as const) {
      const { data } = hintOf(none, tower, { width: 512, height: 64 }, mode);
      expect(data.length).toBe(3 * 512 * 64);
    }
  });

  it('knows three modes', () => {
    expect(readResizeMode('', 'control[0].resize')).toBe('crop');
    expect(readResizeMode('fit', 'control[0].resize')).toBe('fit');
    expect(() => readResizeMode('toString', 'control[0].resize')).toThrow(
      'Expected one of crop, fit, stretch for control[0].resize but received "toString"',
    );
  });
});

describe('choosing', () => {
  it('takes none where nothing is named, and any spelling', () => {
    expect(choosePreprocessor('').row.name).toBe('none');
    for (const row of preprocessors)
      for (const name of [row.name, ...row.aliases, row.name.toUpperCase().replaceAll('-', '_')])
        expect(choosePreprocessor(name).row).toBe(row);
  });

  it('says of networks that they are, and what is near', () => {
    expect(() => choosePreprocessor('softedge_hed', {}, 'control[0]')).toThrow(
      /for control\[0\]\.preprocessor but received "softedge_hed": a network makes that hint; bring it ready, with "none", or take soft-edge$/,
    );
    expect(() => choosePreprocessor('depth_midas')).toThrow(
      /a network makes that hint; bring it ready, with "none"$/,
    );
    expect(() => choosePreprocessor('foo')).toThrow(/received "foo"$/);
  });

  it('has every name once', () => {
    const names = preprocessors.flatMap(({ name, aliases }) => [name, ...aliases]);
    expect(new Set(names.map((name) => name.toLowerCase().replace(/[^a-z0-9]/g, ''))).size).toBe(
      names.length,
    );
  });

  it.each([
    ['invert (from white bg & black line)', 'invert'],
    ['lineart_standard (from white bg & black line)', 'lineart'],
  ])("knows A1111's %s", (name, known) => {
    expect(choosePreprocessor(name).row.name).toBe(known);
  });

  it('has defaults within their ranges', () => {
    for (const { name, family } of preprocessors)
      for (const [key, { default: value, min, max }] of Object.entries(family.options))
        expect(value >= min && value <= max, `${name}.${key}`).toBe(true);
  });

  it.each([
    [
      'cany',
      {},
      'control[1].preprocessor',
      /^Expected one of none, canny.* for control\[1\]\.preprocessor but received "cany"/,
    ],
    [
      'canny',
      { low: 1 },
      'control[1].preprocessor_options',
      /^Expected any of low_threshold, high_threshold/,
    ],
    [
      'canny',
      { low_threshold: -1 },
      'control[1].preprocessor_options.low_threshold',
      /^Expected a number from 0 to 2048 for control\[1\]\.preprocessor_options\.low_threshold but received -1$/,
    ],
    [
      'canny',
      { l2_gradient: 0.5 },
      'control[1].preprocessor_options.l2_gradient',
      /a whole number from 0 to 1/,
    ],
    ['canny', { gray: Number.NaN }, 'control[1].preprocessor_options.gray', /received NaN/],
    ['none', { toString: 1 }, 'control[1].preprocessor_options', /^Expected nothing/],
  ])('refuses %s %o by its field', (name, options, field, message) => {
    const error = (() => {
      try {
        choosePreprocessor(name, options as Record<string, number>, 'control[1]');
      } catch (thrown) {
        return thrown;
      }
    })();
    expect(error).toBeInstanceOf(ServiceError);
    expect(error).toMatchObject({ code: 'invalid_argument', field });
    expect((error as Error).message).toMatch(message);
  });
});

it('gives a hint of the right size and range for any picture and options', () => {
  const cases = fc.constantFrom(...preprocessors).chain((row) =>
    fc.record({
      name: fc.constant(row.name),
      options: fc.record(
        Object.fromEntries(
          Object.entries(row.family.options).map(([name, { min, max, whole }]) => [
            name,
            whole ? fc.integer({ min, max }) : fc.double({ min, max, noNaN: true }),
          ]),
        ),
        { requiredKeys: [] },
      ),
    }),
  );
  const side = fc.integer({ min: 1, max: 24 });
  const mode = fc.constantFrom('crop' as const, 'fit' as const, 'stretch' as const);
  const pixels = fc.uint8Array({ minLength: 1, maxLength: 99 });
  fc.assert(
    fc.property(
      cases,
      side,
      side,
      side,
      side,
      mode,
      pixels,
      pixels,
      (chosen, w, h, width, height, how, rgb, grey) => {
        const image = flat(w, h, [...rgb]);
        const before = Uint8Array.from(image.data);
        const mask = flat(w, h, [...grey]).data.slice(0, w * h);
        const hint = hintOf(
          choosePreprocessor(chosen.name, chosen.options as Record<string, number>),
          image,
          { width, height },
          how,
          mask,
        );
        expect([hint.width, hint.height, hint.data.length]).toEqual([width, height, 3 * width * height]);
        for (const value of hintTensor(hint)) expect(value === -1 || (value >= 0 && value <= 1)).toBe(true);
        expect(image.data).toEqual(before);
      },
    ),
    { numRuns: 200 },
  );
});

it('puts channels first', () => {
  const tensor = hintTensor({ data: Uint8Array.from([255, 51, 0, 0, 255, 102]), width: 2, height: 1 });
  expect([...tensor]).toEqual([1, 0, Math.fround(0.2), 1, 0, Math.fround(0.4)]);
});

it('parts values as Otsu does', () => {
  expect(otsu(Uint8Array.from([1, 1, 2, 9, 9, 8]))).toBe(2);
  expect(otsu(Uint8Array.from([7, 7]))).toBe(0);
  expect(otsu(new Uint8Array(0))).toBe(0);
});
