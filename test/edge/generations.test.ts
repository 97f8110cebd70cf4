import { describe, expect, it } from 'vitest';
import { createApp } from '../../edge/app.ts';
import { SidecarError } from '../../edge/sidecar/client.ts';
import { fakeSidecar, PIXEL } from '../support/fake-sidecar.ts';

const URL = '/v1/images/generations';

function post(body: unknown, sidecar = fakeSidecar(), headers: Record<string, string> = {}) {
  return createApp({ sidecar }).request(URL, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

describe('POST /v1/images/generations', () => {
  it('replies with images, their seeds and the effective parameters', async () => {
    const sidecar = fakeSidecar();
    const response = await post(
      { prompt: 'red apple', n: 2, seed: 7, size: '64x128', quality: 'high', colour: 1 },
      sidecar,
    );
    expect(response.status).toBe(200);
    expect(response.headers.get('x-request-id')).toBeTruthy();
    const reply = await response.json();
    expect(reply.data).toEqual([7, 8].map((seed) => ({ b64_json: PIXEL.toString('base64'), seed })));
    expect(reply).toMatchObject({
      size: '64x128',
      output_format: 'png',
      usage: { input_tokens: 5, total_tokens: 5 },
    });
    expect(reply.effective).toMatchObject({ model: 'tiny', seeds: [7, 8], steps_run: 4 });
    expect(reply.effective.ignored).toEqual(['quality: has no effect here', 'colour: not known here']);
    expect(sidecar.requests[0]).toMatchObject({
      prompt: 'red apple',
      count: 2,
      seeds: [7, 8],
      width: 64,
      height: 128,
    });
  });

  it('draws a seed where none is given, and leaves the rest to the model', async () => {
    const sidecar = fakeSidecar();
    await post({ prompt: 'x', n: 3, size: 'auto', seed: null }, sidecar);
    const { seeds, ...request } = sidecar.requests[0]!;
    const [first] = seeds as number[];
    expect(seeds).toEqual([first, first! + 1, first! + 2]);
    expect(request).toMatchObject({
      model: '',
      width: 0,
      height: 0,
      steps: 0,
      sampler: '',
      guidanceScale: undefined,
    });
  });

  it('passes the priority on', async () => {
    const sidecar = fakeSidecar();
    for (const priority of ['bulk', 'interactive', null]) await post({ prompt: 'x', priority }, sidecar);
    expect(sidecar.requests.map(({ priority }) => priority)).toEqual(['bulk', 'interactive', '']);
    expect((await post({ prompt: 'x', priority: 'high' }, sidecar)).status).toBe(400);
  });

  it('reads prompts with weights, or as plain text where that is asked for', async () => {
    const sidecar = fakeSidecar();
    const { effective } = await (await post({ prompt: '(x)', prompt_syntax: 'plain' }, sidecar)).json();
    expect(effective.prompt_syntax).toBe('plain');
    await post({ prompt: '(x)', prompt_syntax: null }, sidecar);
    expect(sidecar.requests.map(({ promptSyntax }) => promptSyntax)).toEqual(['plain', '']);
  });

  it('gives the picture itself to who accepts image/png', async () => {
    const response = await post({ prompt: 'x', seed: 3 }, fakeSidecar(), { accept: 'image/png' });
    expect(response.headers.get('content-type')).toBe('image/png');
    expect(response.headers.get('x-seed')).toBe('3');
    expect(response.headers.get('x-ignored')).toBeNull();
    expect(Buffer.from(await response.arrayBuffer())).toEqual(PIXEL);
  });

  it('names what has no effect beside a picture', async () => {
    const body = { prompt: 'x', user: 'me', 'f\u00e4rg\n': 1 };
    const response = await post(body, fakeSidecar(), { accept: 'image/png' });
    expect(response.headers.get('x-ignored')).toBe('user, f?rg?');
  });

  it.each([
    ['cfg_scale', 7, 'guidance_scale'],
    ['num_inference_steps', 20, 'steps'],
    ['width', 512, 'size'],
    ['lora', 'a', 'loras'],
    ['init_images', ['a'], 'init_image'],
    ['image', 'a', 'init_image'],
    ['denoising_strength', 0.5, 'strength'],
    ['controlnet', {}, 'control'],
    ['hr_scale', 2, 'hires_scale'],
  ])('refuses %s, which other APIs have', async (name, value, expected) => {
    const response = await post({ prompt: 'x', [name]: value });
    expect(response.status).toBe(400);
    const { error } = await response.json();
    expect(error).toMatchObject({ code: 'unsupported_parameter', param: name });
    expect(error.message).toContain(`Expected ${expected}`);
    expect((await post({ prompt: 'x', [name]: null })).status).toBe(200);
  });

  it('adapters by name and scale', async () => {
    const sidecar = fakeSidecar();
    const response = await post({ prompt: 'x', loras: [{ name: 'a', scale: 0.5 }, { name: 'b' }] }, sidecar);
    const loras = [
      { name: 'a', scale: 0.5 },
      { name: 'b', scale: 1 },
    ];
    expect(sidecar.requests[0]!.adapters).toEqual(loras);
    expect((await response.json()).effective.loras).toEqual(loras);
  });

  it('reads the call to its end, so that it is not reset', async () => {
    const fake = fakeSidecar();
    let ended = 0;
    const generate: typeof fake.generate = async function* (...asked) {
      yield* fake.generate(...asked);
      ended++;
    };
    expect((await post({ prompt: 'x' }, { ...fake, generate })).status).toBe(200);
    expect(ended).toBe(1);
  });

  it('passes the request id on', async () => {
    const sidecar = fakeSidecar();
    const response = await post({ prompt: 'x' }, sidecar, { 'x-request-id': 'abc-1' });
    expect(response.headers.get('x-request-id')).toBe('abc-1');
    expect(sidecar.options[0]!.requestId).toBe('abc-1');
  });
});

describe('bad bodies', () => {
  const cases: [string, unknown, string][] = [
    ['no prompt', {}, 'prompt'],
    ['an empty prompt', { prompt: '' }, 'prompt'],
    ['a prompt of another type', { prompt: 5 }, 'prompt'],
    ['a long prompt', { prompt: 'x'.repeat(32_001) }, 'prompt'],
    ['NUL', { prompt: 'a\0b' }, 'prompt'],
    ['a lone surrogate', '{"prompt":"a\\ud800b"}', 'prompt'],
    ['n 0', { prompt: 'x', n: 0 }, 'n'],
    ['n -1', { prompt: 'x', n: -1 }, 'n'],
    ['n 1e9', { prompt: 'x', n: 1e9 }, 'n'],
    ['n 1.5', { prompt: 'x', n: 1.5 }, 'n'],
    ['size 512x', { prompt: 'x', size: '512x' }, 'size'],
    ['size 1e9x1e9', { prompt: 'x', size: '1e9x1e9' }, 'size'],
    ['size 513x513', { prompt: 'x', size: '513x513' }, 'size'],
    ['size 4096x4096', { prompt: 'x', size: '4096x4096' }, 'size'],
    ['steps 0', { prompt: 'x', steps: 0 }, 'steps'],
    ['steps 1e6', { prompt: 'x', steps: 1e6 }, 'steps'],
    ['guidance 1e999', '{"prompt":"x","guidance_scale":1e999}', 'guidance_scale'],
    ['guidance NaN', { prompt: 'x', guidance_scale: 'NaN' }, 'guidance_scale'],
    ['seed 2^53+1', '{"prompt":"x","seed":9007199254740993}', 'seed'],
    ['seed -1', { prompt: 'x', seed: -1 }, 'seed'],
    ['seed abc', { prompt: 'x', seed: 'abc' }, 'seed'],
    ['seeds beyond 2^53', { prompt: 'x', n: 2, seed: Number.MAX_SAFE_INTEGER }, 'seed'],
    ['eta 2', { prompt: 'x', eta: 2 }, 'eta'],
    ['clip_skip 12', { prompt: 'x', clip_skip: 12 }, 'clip_skip'],
    ['prompt_syntax', { prompt: 'x', prompt_syntax: 'compel' }, 'prompt_syntax'],
    ['partial_images 4', { prompt: 'x', partial_images: 4 }, 'partial_images'],
    ['a link', { prompt: 'x', response_format: 'link' }, 'response_format'],
    ['gif', { prompt: 'x', output_format: 'gif' }, 'output_format'],
    ['compression 101', { prompt: 'x', output_compression: 101 }, 'output_compression'],
    ['strength 1.1', { prompt: 'x', strength: 1.1 }, 'strength'],
    ['mask_blur 0.5', { prompt: 'x', mask_blur: 0.5 }, 'mask_blur'],
    ['hires_scale 5', { prompt: 'x', hires_scale: 5 }, 'hires_scale'],
    ['size_conditioning', { prompt: 'x', size_conditioning: { crop_top: -1 } }, 'size_conditioning.crop_top'],
    ['control without a model', { prompt: 'x', control: [{}] }, 'control[0].model'],
    ['9 controls', { prompt: 'x', control: new Array(9).fill({ model: 'a' }) }, 'control'],
    ['a scale of text', { prompt: 'x', control: [{ model: 'a', scale: 'b' }] }, 'control[0].scale'],
    ['a scale of 11', { prompt: 'x', control: [{ model: 'a', scale: 11 }] }, 'control[0].scale'],
    ['loras as a text', { prompt: 'x', loras: 'a' }, 'loras'],
    ['a lora without a name', { prompt: 'x', loras: [{ scale: 1 }] }, 'loras[0].name'],
    ['a lora of scale 1e9', { prompt: 'x', loras: [{ name: 'a', scale: 1e9 }] }, 'loras[0].scale'],
    ['17 loras', { prompt: 'x', loras: new Array(17).fill({ name: 'a' }) }, 'loras'],
  ];
  it.each(cases)('%s', async (_, body, param) => {
    const sidecar = fakeSidecar();
    const response = await post(body, sidecar);
    const { error } = await response.json();
    expect({ status: response.status, type: error.type, param: error.param }).toEqual({
      status: 400,
      type: 'invalid_request_error',
      param,
    });
    expect(error.message).toMatch(/^Expected .+ but received /);
    expect(sidecar.requests).toEqual([]);
  });

  it.each([
    ['no JSON', '{"prompt":', 400],
    ['a list', '[]', 400],
    ['null', 'null', 400],
    ['nothing', '', 400],
    ['over the limit', JSON.stringify({ prompt: 'x', pad: 'x'.repeat(16 * 2 ** 20) }), 413],
    ['deep', `{"prompt":"x","deep":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 400],
    ['a prototype', '{"prompt":"x","__proto__":{"n":9}}', 200],
  ])('%s', async (_, body, status) => {
    const response = await post(body);
    expect(response.status).toBe(status);
    if (status !== 200) expect(await response.json()).toHaveProperty('error.message');
  });

  it('is too large without Content-Length too', async () => {
    const stream = new ReadableStream({
      start(controller) {
        for (let i = 0; i < 20; i++) controller.enqueue(new Uint8Array(65_536).fill(32));
        controller.close();
      },
    });
    const init = {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: stream,
      duplex: 'half',
    };
    const app = createApp({ sidecar: fakeSidecar(), limits: { imageBodyBytes: 2 ** 20 } });
    const response = await app.request(URL, init as RequestInit);
    expect(response.status).toBe(413);
    expect(await response.json()).toMatchObject({ error: { code: 'body_too_large' } });
  });

  it('is not JSON by its type', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonp'])
      expect((await post({ prompt: 'x' }, fakeSidecar(), { 'content-type': type })).status).toBe(415);
  });

  it('asks for one picture and several at once', async () => {
    const response = await post({ prompt: 'x', n: 2 }, fakeSidecar(), { accept: 'image/png' });
    expect(response.status).toBe(400);
  });
});

it('names what came and is not known, where something is missing', async () => {
  const response = await post({ promt: 'x', colour: 1, quality: 'high' }, fakeSidecar());
  const message = 'Expected a string for prompt but received nothing; not known here: "promt", "colour"';
  expect([response.status, (await response.json()).error]).toEqual([
    400,
    expect.objectContaining({ message, param: 'prompt' }),
  ]);
  const alone = await post({ quality: 'high' }, fakeSidecar());
  expect((await alone.json()).error.message).toBe('Expected a string for prompt but received nothing');
  const within = await post({ prompt: 'x', colour: 1, control: [{ scale: 1 }] }, fakeSidecar());
  const { message: nested } = (await within.json()).error;
  expect(nested).toBe('Expected a string for control[0].model but received nothing');
});

describe("the sidecar's errors", () => {
  it.each([
    ['queue_full', 429, 'rate_limit_error', undefined],
    ['model_not_found', 404, 'invalid_request_error', 'model'],
    ['checkpoint_unusable', 422, 'invalid_request_error', undefined],
    ['sidecar_unreachable', 503, 'server_error', undefined],
    ['deadline_exceeded', 504, 'server_error', undefined],
    ['cancelled', 499, 'invalid_request_error', undefined],
    ['invalid_argument', 400, 'invalid_request_error', 'sampler'],
  ])('%s', async (code, httpStatus, type, field) => {
    const retryAfterMs = httpStatus === 429 ? 1500 : undefined;
    const error = new SidecarError('Told so', { code, httpStatus, field, retryAfterMs });
    for (const stream of [false, true]) {
      const response = await post({ prompt: 'x', stream }, fakeSidecar({ fail: { error } }));
      expect(response.status).toBe(httpStatus);
      expect(await response.json()).toEqual({
        error: { message: 'Told so', type, param: field ?? null, code },
      });
      expect(response.headers.get('retry-after')).toBe(retryAfterMs ? '2' : null);
      expect(response.headers.get('retry-after-ms')).toBe(retryAfterMs ? '1500' : null);
      expect(response.headers.get('x-request-id')).toBeTruthy();
    }
  });

  it("says nothing of a fault's cause", async () => {
    const sidecar = {
      ...fakeSidecar(),
      generate: () => {
        throw new Error('secret path');
      },
    };
    const response = await post({ prompt: 'x' }, sidecar);
    expect(response.status).toBe(500);
    expect(await response.text()).not.toContain('secret');
  });
});
