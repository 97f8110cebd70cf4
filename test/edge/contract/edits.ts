import { expect, it } from 'vitest';
import { fakeSidecar, PIXEL } from '../../support/fake-sidecar.ts';
import type { Edge } from '../../support/runtimes.ts';
import { events } from './requests.ts';

type Part = [name: string, value: string | Uint8Array];

/** POST of a form; files as PNG. */
function send(edge: Edge, route: string, parts: Part[], headers: Record<string, string> = {}) {
  const form = new FormData();
  for (const [name, value] of parts)
    if (typeof value === 'string') form.append(name, value);
    else
      form.append(name, new Blob([value as Uint8Array<ArrayBuffer>], { type: 'image/png' }), `${name}.png`);
  return edge.fetch(`/v1/images/${route}`, { method: 'POST', body: form, headers });
}

const image: Part = ['image', PIXEL];
const prompt: Part = ['prompt', 'x'];

/** Edits and variations, which come as forms. */
export function edits(edge: () => Edge): void {
  const edit = (parts: Part[], headers = {}) => send(edge(), 'edits', [...parts, image, prompt], headers);

  it('takes pictures as files, and every scalar as text', async () => {
    const sidecar = edge().use(fakeSidecar());
    const response = await edit([
      ['mask', PIXEL],
      ...Object.entries({ model: 'tiny', n: '2', size: '64x64', seed: '7', steps: '3', strength: '0.5' }),
      ...Object.entries({ guidance_scale: '1e0', keep_unmasked: 'true', output_format: 'webp', eta: '' }),
      ...Object.entries({ user: 'me', input_fidelity: 'high', colour: 'red' }),
    ]);
    expect(response.status).toBe(200);
    const reply = await response.json();
    expect(reply.data).toMatchObject([{ seed: 7 }, { seed: 8 }]);
    expect(reply.effective.ignored).toEqual([
      'user: has no effect here',
      'input_fidelity: has no effect here',
      'colour: not known here',
    ]);
    const [{ initImage, mask, ...request }] = sidecar.requests as [Record<string, unknown>];
    expect([initImage, mask].map((file) => PIXEL.equals(file as Uint8Array))).toEqual([true, true]);
    expect(request).toMatchObject({
      ...{ model: 'tiny', prompt: 'x', count: 2, width: 64, seeds: [7, 8], steps: 3, strength: 0.5 },
      ...{ maskChannel: 'alpha', guidanceScale: 1, keepUnmasked: true, format: 'IMAGE_FORMAT_WEBP' },
    });
  });

  it('takes lists and objects as JSON, and field by field', async () => {
    const unit = { model: 'canny', scale: [0.5, 1], preprocessor_options: { low: 3 } };
    const sidecar = edge().use(fakeSidecar());
    const json = await edit([
      ['control', JSON.stringify([unit])],
      ['loras', '[{"name":"a","scale":0.5},{"name":"b"}]'],
      ['size_conditioning', '{"crop_top":4}'],
    ]);
    const nested = await edit([
      ...([['control[][model]', 'canny']] as Part[]),
      ...([
        ['control[][scale][]', '0.5'],
        ['control[][scale][]', '1'],
      ] as Part[]),
      ['control[][preprocessor_options][low]', '3'],
      ...([
        ['loras[][name]', 'a'],
        ['loras[][scale]', '0.5'],
        ['loras[][name]', 'b'],
      ] as Part[]),
      ['size_conditioning[crop_top]', '4'],
    ]);
    expect([json.status, nested.status]).toEqual([200, 200]);
    const [first, second] = sidecar.requests.map(({ seeds, ...request }) => request);
    expect(first).toMatchObject({
      control: [{ model: 'canny', scale: [0.5, 1], preprocessorOptions: { low: 3 } }],
      adapters: [
        { name: 'a', scale: 0.5 },
        { name: 'b', scale: 1 },
      ],
      sizeConditioning: { cropTop: 4 },
    });
    expect(second).toEqual(first);
  });

  it('takes image[] of one, and masks of black and white', async () => {
    const sidecar = edge().use(fakeSidecar());
    const parts: Part[] = [['image[]', PIXEL], prompt, ['mask', PIXEL], ['mask_channel', 'luminance']];
    expect((await send(edge(), 'edits', parts)).status).toBe(200);
    expect(sidecar.requests[0]).toMatchObject({ maskChannel: 'luminance' });
  });

  it('keeps what a mask leaves as it is, unless told otherwise', async () => {
    const sidecar = edge().use(fakeSidecar());
    const mask: Part = ['mask', PIXEL];
    for (const parts of [[mask], [mask, ['keep_unmasked', 'false']], []] as Part[][])
      expect((await edit(parts)).status).toBe(200);
    expect(sidecar.requests.map(({ keepUnmasked }) => keepUnmasked)).toEqual([true, false, false]);
  });

  it('streams', async () => {
    edge().use(fakeSidecar({ steps: 2 }));
    const all = await events(
      await edit([
        ['stream', 'true'],
        ['partial_images', '1'],
      ]),
    );
    expect(all.map(({ name }) => name)).toEqual(['image_edit.partial_image', 'image_edit.completed']);
  });

  it('varies a picture without a prompt', async () => {
    const sidecar = edge().use(fakeSidecar());
    const response = await send(edge(), 'variations', [image, ['n', '2'], ['response_format', 'url']]);
    expect((await response.json()).data[0].url).toMatch(/^data:image\/png;base64,/);
    expect(sidecar.requests[0]).toMatchObject({ prompt: '', count: 2 });
  });

  it.each<[string, Part[], string | null]>([
    ['no picture', [prompt], 'image'],
    ['two pictures', [['image[]', PIXEL], ['image[]', PIXEL], prompt], 'image'],
    ['the same twice', [image, image, prompt], 'image'],
    ['an empty file', [['image', new Uint8Array()], prompt], 'image'],
    ['a picture that is text', [['image', 'hello!'], prompt], 'image'],
    ['no prompt', [image], 'prompt'],
    ['two prompts', [image, prompt, prompt], 'prompt'],
    ['n of letters', [image, prompt, ['n', 'two']], 'n'],
    ['n 1.5', [image, prompt, ['n', '1.5']], 'n'],
    ['a number of two points', [image, prompt, ['strength', '1.2.3']], 'strength'],
    ['stream of neither', [image, prompt, ['stream', 'yes']], 'stream'],
    ['control that is no list', [image, prompt, ['control', 'canny']], 'control'],
    ['JSON of a million values', [image, prompt, ['control', `[${'{},'.repeat(1e6)}{}]`]], null],
    ['broken JSON', [image, prompt, ['loras', '[{"name":']], 'loras'],
    ['init_image', [image, prompt, ['init_image', PIXEL]], 'init_image'],
    ['cfg_scale', [image, prompt, ['cfg_scale', '7']], 'cfg_scale'],
  ])('refuses %s', async (_, parts, param) => {
    const sidecar = edge().use(fakeSidecar());
    const response = await send(edge(), 'edits', parts);
    const { error } = await response.json();
    expect([response.status, error.param, error.type]).toEqual([400, param, 'invalid_request_error']);
    expect(sidecar.requests).toEqual([]);
  });

  it.each([
    ['no form', 'hello', 'multipart/form-data; boundary=x', 400],
    ['no boundary', 'hello', 'multipart/form-data', 400],
    ['JSON', '{"prompt":"x"}', 'application/json', 415],
  ])('refuses %s', async (_, body, type, status) => {
    const init = { method: 'POST', body, headers: { 'content-type': type } };
    const response = await edge().fetch('/v1/images/edits', init);
    expect(response.status).toBe(status);
    expect((await response.json()).error.message).toMatch(/^Expected /);
  });

  it('says of a file in the place of something else how large it is, and no more', async () => {
    edge().use(fakeSidecar());
    const file = new Uint8Array(2 ** 20);
    for (const [name, expected] of [
      ['prompt', 'a string'],
      ['n', 'a number'],
      ['loras', 'an array'],
    ] as const) {
      const rest = [image, prompt].filter(([other]) => other !== name);
      const { error } = await (await send(edge(), 'edits', [...rest, [name, file]])).json();
      expect(error.message).toBe(
        `Expected ${expected} for ${name} but received "a file of ${file.length} bytes"`,
      );
    }
  });

  it('says what it expects where there is no picture', async () => {
    edge().use(fakeSidecar());
    const { error } = await (await send(edge(), 'edits', [prompt])).json();
    expect(error.message).toBe(
      'Expected a PNG, JPEG or WebP file in base64, bare or as a data URL, for image but received nothing',
    );
  });

  it('refuses a thousand parts, and prototypes', async () => {
    for (const length of [1000, 50_000]) {
      const part = '--x\r\ncontent-disposition: form-data; name="f"\r\n\r\n1\r\n';
      const body = `${part.repeat(length)}--x--\r\n`;
      const init = { method: 'POST', body, headers: { 'content-type': 'multipart/form-data; boundary=x' } };
      const response = await edge().fetch('/v1/images/edits', init);
      const message = `Expected a form of at most 256 fields but received ${length}`;
      expect([response.status, (await response.json()).error.message]).toEqual([400, message]);
    }
    expect((await edit([[`a${'[b]'.repeat(1e6)}`, '1']])).status).toBe(200);
    for (const name of ['__proto__[n]', 'constructor[prototype][n]', 'loras[][__proto__][x]', 'a[b]c', '[]'])
      expect([200, 400]).toContain((await edit([[name, '9']])).status);
    expect(({} as { n?: unknown }).n).toBeUndefined();
  });
}
