import { describe, expect, it } from 'vitest';
import { parseRequest } from '../../sidecar/engine/request.ts';
import { ServiceError } from '../../sidecar/errors.ts';

describe('parseRequest', () => {
  it('takes what comes from the wire, where 0 and "" stand for nothing', () => {
    const wire = { model: '', prompt: 'x', width: 0, height: 64, count: 0, seeds: [], steps: 0, sampler: '' };
    expect(parseRequest(wire)).toMatchObject({ count: 1, width: undefined, height: 64, steps: undefined });
    expect(parseRequest({ promptSyntax: '' }).promptSyntax).toBeUndefined();
  });

  it('counts images by seeds', () => {
    expect(parseRequest({ seeds: [1, 2, 3] }).count).toBe(3);
    expect(parseRequest({ seeds: [1], count: 4 }).count).toBe(4);
  });

  it('keeps zeros that mean something', () => {
    expect(parseRequest({ guidanceScale: 0, eta: 0, clipSkip: 0 })).toMatchObject({
      guidanceScale: 0,
      eta: 0,
      clipSkip: 0,
    });
  });

  it.each([
    ['width', 'width', 513],
    ['width', 'width', 4104],
    ['height', 'height', -8],
    ['count', 'count', 65],
    ['count', 'count', 1e9],
    ['steps', 'steps', 1e6],
    ['steps', 'steps', -1],
    ['steps', 'steps', 1.5],
    ['guidanceScale', 'guidance_scale', Number.NaN],
    ['guidanceScale', 'guidance_scale', Number.POSITIVE_INFINITY],
    ['guidanceScale', 'guidance_scale', 101],
    ['guidanceRescale', 'guidance_rescale', 1.01],
    ['eta', 'eta', -0.1],
    ['clipSkip', 'clip_skip', 12],
    ['seeds', 'seeds', [2 ** 53]],
    ['seeds', 'seeds', [-1]],
    ['seeds', 'seeds', ['abc']],
    ['prompt', 'prompt', 'a\0b'],
    ['prompt', 'prompt', 'a\ud800'],
    ['prompt', 'prompt', 'x'.repeat(1024 * 1024)],
    ['negativePrompt', 'negative_prompt', 5],
    ['promptSyntax', 'prompt_syntax', 'compel'],
    ['model', 'model', 'x'.repeat(4096)],
    ['model', 'model', 'a\nb'],
    ['previewCount', 'preview_count', 17],
    ['previewInterval', 'preview_interval', 1001],
    ['format', 'format', 7],
    ['format', 'format', 'IMAGE_FORMAT_TIFF'],
  ])('names %s', (key, field, value) => {
    const parse = () => parseRequest({ prompt: 'x', [key]: value });
    expect(parse).toThrow(ServiceError);
    expect(parse).toThrow(new RegExp(`^Expected .+ for ${field} but received `));
    try {
      parse();
    } catch (error) {
      expect(error).toMatchObject({ code: 'invalid_argument', field });
      expect((error as Error).message.length).toBeLessThan(300);
    }
  });

  it('needs one seed, or one for each image', () => {
    expect(() => parseRequest({ seeds: [1, 2], count: 3 })).toThrow(/seeds/);
    expect(() => parseRequest({ seeds: new Array(65).fill(1) })).toThrow(/seeds/);
  });
});
