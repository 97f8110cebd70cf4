import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fileText } from '../../edge/a1111/file-text.ts';
import { parametersOf } from '../../edge/a1111/parameters-text.ts';
import { encodeImage, imageFormats } from '../../sidecar/engine/image-file.ts';
import { parametersText } from '../../sidecar/engine/png.ts';

const pixels = { data: new Uint8Array(8 * 8 * 3).fill(90), width: 8, height: 8 };

describe.each(imageFormats)('%s', (format) => {
  it('gives its text back', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 200 }), async (text) => {
        expect(fileText(await encodeImage(pixels, { format }, text))).toBe(text);
      }),
      { numRuns: 20 },
    );
    expect(fileText(await encodeImage(pixels, { format }))).toBeUndefined();
  });

  it('broken anywhere is read without harm', async () => {
    const file = await encodeImage(pixels, { format }, 'some text');
    for (let end = 0; end < file.length; end += 3) fileText(file.subarray(0, end));
    fc.assert(
      fc.property(fc.nat(file.length - 1), fc.nat(255), (at, value) => {
        fileText(Uint8Array.from(file, (byte, i) => (i === at ? value : byte)));
      }),
      { numRuns: 200 },
    );
  });
});

it('is none where it is longer than any prompt', async () => {
  const file = await encodeImage(pixels, { format: 'IMAGE_FORMAT_PNG' }, 'a'.repeat(2 ** 20 + 1));
  expect(fileText(file)).toBeUndefined();
});

describe('parametersOf', () => {
  const parameters = {
    ...{ prompt: 'red apple,\nshiny: very', negativePrompt: 'blurry', steps: 20, sampler: 'Euler a' },
    ...{ schedule: 'Karras', guidanceScale: 7.5, guidanceRescale: 0, clipSkip: 1, eta: 0, seed: 42 },
    ...{ width: 64, height: 32, model: 'a, b: "c"', modelHash: 'abcdef0123456789', adapters: [] },
  };

  it('reads what the sidecar writes', () => {
    expect(parametersOf(parametersText(parameters))).toEqual({
      ...{ Prompt: 'red apple,\nshiny: very', 'Negative prompt': 'blurry', Steps: '20' },
      ...{ Sampler: 'Euler a', 'Schedule type': 'Karras', 'CFG scale': '7.5', Seed: '42' },
      ...{ Size: '64x32', 'Size-1': '64', 'Size-2': '32', 'Model hash': 'abcdef0123', 'Clip skip': '2' },
      ...{ Model: 'a, b: "c"', RNG: 'CPU' },
    });
  });

  it('takes words for words', () => {
    expect(parametersOf('a fox: red, wild')).toEqual({ Prompt: 'a fox: red, wild', 'Negative prompt': '' });
    expect(parametersOf('')).toEqual({});
  });

  it('reads values in quotes that are not closed, and goes on after what is no pair', () => {
    const settings = { Steps: '1', Sampler: 'Euler', Seed: '2' };
    const line = 'Steps: 1, (odd): x, Sampler: Euler, nothing, Seed: 2';
    expect(parametersOf(line)).toMatchObject({ Steps: '1', Sampler: 'Euler' });
    expect(parametersOf(`Steps: 1, Sampler: Euler, Seed: 2, Model: "a, b`)).toMatchObject({
      ...settings,
      Model: '"a, b',
    });
  });

  // A pattern that begins anew at each character would take minutes over them.
  it.each([' ', 'a ', 'a:', 'a: "', '"\\', ', a', '\n'])('looks at each character once: %j', (piece) => {
    expect(parametersOf(piece.repeat(2 ** 18))).toBeTypeOf('object');
  });
});
