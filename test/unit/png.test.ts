import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { encodePng, type ImageParameters, parametersText } from '../../sidecar/engine/png.ts';

const parameters: ImageParameters = {
  prompt: 'red apple',
  negativePrompt: 'blurry',
  steps: 20,
  sampler: 'Euler a',
  schedule: 'Karras',
  guidanceScale: 7.5,
  guidanceRescale: 0,
  clipSkip: 1,
  eta: 0,
  seed: 42,
  width: 2,
  height: 1,
  model: 'a, b: c',
  modelHash: 'abcdef0123456789',
  adapters: [],
};
const pixels = { data: Uint8Array.of(1, 2, 3, 250, 251, 252), width: 2, height: 1 };

describe('encodePng', () => {
  it('keeps every pixel, and its text is read by others', async () => {
    const png = await encodePng(pixels, parametersText(parameters));
    const image = sharp(png);
    const { comments } = await image.metadata();
    expect(comments).toEqual([{ keyword: 'parameters', text: parametersText(parameters) }]);
    expect([...(await image.raw().toBuffer())]).toEqual([...pixels.data]);
  });

  it('writes any text', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'grapheme', minLength: 1 }), async (prompt) => {
        const text = parametersText({ ...parameters, prompt });
        const { comments } = await sharp(await encodePng(pixels, text)).metadata();
        expect(comments?.[0]?.text).toBe(text);
      }),
      { numRuns: 50 },
    );
  });
});

describe('parametersText', () => {
  it('is what other tools write', () => {
    expect(parametersText(parameters)).toBe(
      [
        'red apple',
        'Negative prompt: blurry',
        'Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7.5, Seed: 42, Size: 2x1, Model hash: abcdef0123, Model: "a, b: c", Clip skip: 2, RNG: CPU',
      ].join('\n'),
    );
  });

  it('names adapters', () => {
    const adapters = [
      { name: 'a', scale: 0.8 },
      { name: 'b', scale: -1 },
    ];
    const text = parametersText({ ...parameters, adapters });
    expect(text).toMatch(/^red apple <lora:a:0.8> <lora:b:-1>\nNegative prompt: blurry\n/);
  });

  it('leaves out what has no effect', () => {
    const plain = { ...parameters, negativePrompt: '', schedule: undefined, clipSkip: 0, model: 'm' };
    expect(parametersText(plain)).toBe(
      'red apple\nSteps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 42, Size: 2x1, Model hash: abcdef0123, Model: m, RNG: CPU',
    );
  });
});
