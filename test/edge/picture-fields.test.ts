import { describe, expect, it } from 'vitest';
import { createApp } from '../../edge/app.ts';
import { fakeSidecar, PIXEL } from '../support/fake-sidecar.ts';

// Pictures in JSON, and what goes with them.

const b64 = PIXEL.toString('base64');

function post(body: object, sidecar = fakeSidecar(), headers: Record<string, string> = {}) {
  return createApp({ sidecar }).request('/v1/images/generations', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ prompt: 'x', ...body }),
  });
}

describe('the sidecar gets', () => {
  it('pictures as files, and every field about them', async () => {
    const sidecar = fakeSidecar();
    const body = {
      init_image: `data:image/png;base64,${b64}`,
      ...{ mask: b64, mask_channel: 'alpha', mask_blur: 4, only_masked_padding: 0, keep_unmasked: true },
      ...{ strength: 0.6, refiner: 'r', refiner_start: 0.7, hires_scale: 2, hires_strength: 0.4 },
      masked_content: 'latent-noise',
      ...{ guess_mode: true, size_conditioning: { original_width: 100, crop_top: 7 } },
      ...{ output_format: 'webp', output_compression: 0 },
    };
    expect((await post(body, sidecar)).status).toBe(200);
    const [{ initImage, mask, ...request }] = sidecar.requests as [Record<string, unknown>];
    expect([initImage, mask].map((file) => PIXEL.equals(file as Uint8Array))).toEqual([true, true]);
    expect(request).toMatchObject({
      ...{ maskChannel: 'alpha', maskBlur: 4, onlyMaskedPadding: 0, keepUnmasked: true },
      ...{ strength: 0.6, refiner: 'r', refinerStart: 0.7, hiresScale: 2, hiresStrength: 0.4 },
      maskedContent: 'latent-noise',
      guessMode: true,
      sizeConditioning: { originalWidth: 100, originalHeight: 0, cropTop: 7, cropLeft: 0 },
      ...{ format: 'IMAGE_FORMAT_WEBP', quality: 1, maxPixels: 16 * 2 ** 20 },
    });
  });

  it('ControlNets, one scale or one for each step', async () => {
    const sidecar = fakeSidecar();
    const control = [
      { model: 'canny', image: b64, preprocessor: 'canny', preprocessor_options: { low: 3 }, scale: 0.5 },
      { model: 'b', scale: [0, 1], start: 0.1, end: 0.9, mode: 'prompt', resize: 'fit', level_scale: [1, 2] },
    ];
    expect((await post({ control }, sidecar)).status).toBe(200);
    const [first, second] = sidecar.requests[0]!.control!;
    expect(first).toEqual({
      ...{ model: 'canny', image: PIXEL, preprocessor: 'canny', preprocessorOptions: { low: 3 } },
      ...{ scale: [0.5], start: undefined, end: undefined, mode: '', resize: '', levelScale: [] },
    });
    expect(second).toMatchObject({
      ...{ image: undefined, scale: [0, 1], start: 0.1, end: 0.9 },
      ...{ mode: 'prompt', resize: 'fit', levelScale: [1, 2] },
    });
  });
});

describe('a picture that is none', () => {
  it.each([
    ['nothing', '', 'nothing'],
    ['nothing, as a URL', 'data:image/png;base64,', 'nothing'],
    ['white space', `${b64.slice(0, 40)}\n${b64.slice(40)}`, 'white space at 40'],
    ['the URL-safe alphabet', '-_-_', '-, of the URL-safe alphabet, at 0'],
    ['too little padding', 'aGk', 'base64 of 3 characters'],
    ['too much padding', 'aG===', '"=" at 2'],
    ['padding within', 'aG==aG==', '"=" at 2'],
    ['another type', 'data:text/html;base64,aGk=', 'a data URL of type "text/html"'],
    ['SVG', 'data:image/svg+xml;base64,aGk=', 'a data URL of type "image/svg+xml"'],
    ['plain text in a URL', 'data:image/png,hello', 'a data URL that is not in base64'],
    ['half a URL', 'data:image/png;base64', 'a data URL without data'],
    ['an address', 'http://169.254.169.254/latest', 'an address: pictures are not fetched'],
    ['a file', 'file:///etc/passwd', 'an address: pictures are not fetched'],
  ])('is refused by field: %s', async (_, picture, received) => {
    const sidecar = fakeSidecar();
    for (const [body, param] of [
      [{ init_image: picture }, 'init_image'],
      [{ mask: picture }, 'mask'],
      [{ control: [{ model: 'a', image: picture }] }, 'control[0].image'],
    ] as const) {
      const response = await post(body, sidecar);
      const { error } = await response.json();
      expect([response.status, error.param, error.code]).toEqual([400, param, 'invalid_argument']);
      expect(error.message).toContain(
        `Expected a PNG, JPEG or WebP file in base64, bare or as a data URL, for ${param} but received ${received}`,
      );
      expect(error.message.length).toBeLessThan(250);
    }
    expect(sidecar.requests).toEqual([]);
  });

  it.each([5, [b64], { b64_json: b64 }, true])('is of another type: %j', async (picture) => {
    const response = await post({ init_image: picture });
    expect([response.status, (await response.json()).error.param]).toEqual([400, 'init_image']);
  });
});

describe('formats', () => {
  it.each(['png', 'jpeg', 'webp'])('%s, in JSON, by Accept and in a stream', async (format) => {
    const sidecar = fakeSidecar();
    const reply = await (await post({ output_format: format, output_compression: 40 }, sidecar)).json();
    expect(reply).toMatchObject({ output_format: format, effective: { output_format: format } });
    const picture = await post({}, sidecar, { accept: `image/${format}` });
    expect(picture.headers.get('content-type')).toBe(`image/${format}`);
    const streamed = await (await post({ output_format: format, stream: true }, sidecar)).text();
    expect(streamed).toContain(`"output_format":"${format}"`);
    const expected = `IMAGE_FORMAT_${format.toUpperCase()}`;
    expect(sidecar.requests.map((request) => request.format)).toEqual([expected, expected, expected]);
    expect(sidecar.requests.map((request) => request.quality)).toEqual([40, undefined, undefined]);
  });

  it('that neither Accept nor the body wants', async () => {
    const response = await post({ output_format: 'webp' }, fakeSidecar(), { accept: 'image/jpeg' });
    expect([response.status, (await response.json()).error.param]).toEqual([400, 'output_format']);
    const any = await post({ output_format: 'webp' }, fakeSidecar(), { accept: 'image/*' });
    expect(any.headers.get('content-type')).toBe('image/webp');
  });

  it('as data URLs', async () => {
    const { data } = await (await post({ response_format: 'url', output_format: 'jpeg', seed: 1 })).json();
    expect(data).toEqual([{ url: `data:image/jpeg;base64,${b64}`, seed: 1 }]);
  });
});
