import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../../sidecar/engine/engine.ts';
import { modelFolders } from '../../sidecar/engine/roots.ts';
import { type RunningServer, serve } from '../../sidecar/main.ts';
import { blackPng, type HostilePicture, hostilePictures } from '../support/hostile-pictures.ts';
import { type Fields, type Maker, makers, PIXELS_64, Raw } from '../support/makers.ts';
import { type Connected, nodeRuntime, workerdRuntime } from '../support/runtimes.ts';

// What is not right, on every route that takes it, before a real sidecar: its status, its shape, and that the next
// request is served.

/** Bytes of a body. What goes over it does by little: so much is still read, else the connection would be reset. */
const LIMIT = 1.25 * 2 ** 20;
const CONTROLNET = 'tiny-emoji-controlnet-canny';
const few = ['nope', '../../etc/passwd', 'a\0b', 'x'.repeat(4096)];
const half = (text: string) => new Raw(`"${text}"`);
const long = 'x'.repeat(4096);
/** Names that are none, for what has a model's weight; of the others a few. */
const names = ['../x', '../../etc/passwd', '/etc/passwd', 'C:\\x', 'a\0b', '%2e%2e%2fx', '..', '.', long];

/** Values of a field that no route takes, by generations' name of it. */
const refused: Record<string, unknown[]> = {
  prompt: ['a\0b', half('a\\ud800b'), half('\\udc00'), 'x'.repeat(2 ** 20), 5, ['x'], { x: 1 }],
  negative_prompt: ['a\0b', half('a\\ud800b'), 'x'.repeat(2 ** 20)],
  n: [0, -1, 1e9, 1.5, 'two', new Raw('1e999')],
  size: ['512x', '1e9x1e9', '513x513', '0x64', '-64x64', '64x64x64', '4096x4096', 'x', 64],
  steps: [0, -1, 1e6, 1.5, 'NaN', new Raw('1e999')],
  guidance_scale: ['NaN', 'Infinity', -1, 1e9, new Raw('1e999'), new Raw('-1e999')],
  guidance_rescale: [-0.1, 1.1, 'NaN'],
  strength: [-0.1, 1.1, 'NaN', new Raw('1e999')],
  seed: [new Raw('9007199254740993'), -2, 'abc', 1.5, new Raw('1e999')],
  clip_skip: [-1, 12, 1e9],
  eta: [-0.1, 1.1, 'NaN'],
  prompt_syntax: ['nope'],
  sampler: few,
  schedule: few,
  hires_upscaler: few,
  decoder: few,
  masked_content: ['nope', 4, 1.5],
  model: names,
  refiner: few,
  control: [
    ...few.map((model) => [{ model, image: PIXELS_64 }]),
    [{}],
    [{ model: CONTROLNET, image: PIXELS_64, start: 0.8, end: 0.2 }],
    [{ model: CONTROLNET, image: PIXELS_64, start: -1 }],
    [{ model: CONTROLNET, image: PIXELS_64, scale: 1e9 }],
    [{ model: CONTROLNET, image: PIXELS_64, scale: 'NaN' }],
    [{ model: CONTROLNET, image: PIXELS_64, preprocessor: '../nope' }],
    [{ model: CONTROLNET, image: PIXELS_64, mode: 'loud' }],
    new Array(9).fill({ model: CONTROLNET, image: PIXELS_64 }),
    'canny',
    5,
  ],
  loras: [...few.map((name) => [{ name }]), [{ name: 'x', scale: 1e38 }], [{}], 'x', 5],
};

/** Fields that ask for something odd, and get it, or are told why not. */
const odd: Fields[] = [
  { prompt: '((((' },
  { prompt: ')]]' },
  { prompt: '(x:1e38)' },
  { prompt: '(x:-1e38) (y:1e-45)' },
  { prompt: '(x:NaN)' },
  { prompt: '𒀱☃️🧑‍🚀'.repeat(30) },
  { prompt: 'BREAK BREAK' },
  { seed: Number.MAX_SAFE_INTEGER },
  { strength: 0.01 },
];

/** Pictures in base64 that is none, or that are no pictures by what is said of them. */
const texts = [
  `${PIXELS_64.slice(0, 40)}\n${PIXELS_64.slice(40)}`,
  ` ${PIXELS_64}`,
  PIXELS_64.replaceAll('/', '_').replaceAll('+', '-'),
  PIXELS_64.replace(/=+$/, '').slice(0, -1),
  `${PIXELS_64}====`,
  `data:text/html;base64,${PIXELS_64}`,
  `data:image/svg+xml;base64,${PIXELS_64}`,
  'data:image/png,x',
  'data:',
  '',
  'file:///etc/passwd',
  'http://127.0.0.1/a.png',
  'http://[::ffff:169.254.169.254]/latest/meta-data',
];

let engine: Engine;
let sidecar: RunningServer;
let pictures: HostilePicture[];
beforeAll(async () => {
  engine = await Engine.open({ folders: await modelFolders(), concurrency: 1, queueLimit: 64 });
  const host = '127.0.0.1';
  sidecar = await serve(engine, { host, port: 0, web: { host, port: 0 } });
  pictures = await hostilePictures();
});
afterAll(() => sidecar.stop(1000));

/** A test of some routes. */
const given = (isOne: boolean) => (isOne ? it : () => {});

for (const runtime of [nodeRuntime, workerdRuntime]) {
  const why = runtime.missing ? ` (skipped: ${runtime.missing})` : '';
  describe.skipIf(runtime.missing)(`${runtime.name}${why}`, () => {
    let edge: Connected;
    beforeAll(async () => {
      const reached = { address: sidecar.address, webUrl: `http://${sidecar.webAddress}` };
      edge = await runtime.connect(reached, { MAX_BODY_BYTES: String(LIMIT) });
    });
    afterAll(() => edge.stop());

    describe.each(Object.entries(makers))('%s', (route, maker) => {
      // Pictures that are taken cost a run: once of these, which the others share their readers with.
      const isWhole = runtime === nodeRuntime && ['generations', 'edits', 'img2img'].includes(route);

      it('refuses values that are none of a field, and says which field', async () => {
        const { list, note } = problems();
        const isText = (field: string) => /prompt$/.test(field);
        for (const [field, values] of Object.entries(refused)) {
          const name = maker.nameOf(field);
          if (name === undefined) continue;
          for (const value of values) {
            if (maker.isForm && isText(field) && typeof value !== 'string') continue;
            const reply = await answer(edge, maker, { ...maker.good, [name]: value });
            note(`${name}: ${show(value)}`, wrong(reply, [400, 404], name));
          }
        }
        expect(list).toEqual([]);
        await expectServed(edge);
      });

      given(route === 'generations')('makes of odd values what can be made', async () => {
        const { list, note } = problems();
        for (const fields of odd) {
          const entries = Object.entries(fields).map(([field, value]) => [maker.nameOf(field), value]);
          if (entries.some(([name]) => name === undefined)) continue;
          const sent = { ...maker.good, ...Object.fromEntries(entries) };
          note(JSON.stringify(fields).slice(0, 60), refusal(await answer(edge, maker, sent)));
        }
        expect(list).toEqual([]);
      });

      it('refuses pictures that are none, and takes those that are', async () => {
        const { list, note } = problems();
        for (const [place, fields] of Object.entries(maker.pictures)) {
          for (const { what, bytes, isPicture } of pictures) {
            // Once will do; a mask has the size of its picture.
            if (isPicture && (!isWhole || place !== Object.keys(maker.pictures)[0])) continue;
            const reply = await answer(edge, maker, { ...maker.good, ...fields(bytes) });
            note(`${place}: ${what}`, isPicture ? refusal(reply) : wrong(reply, [400], place));
          }
          for (const text of texts) {
            // A unit without a picture has the request's.
            if (text === '' && place.startsWith('alwayson_scripts')) continue;
            const reply = await answer(edge, maker, { ...maker.good, ...fields(text) });
            note(`${place}: ${show(text)}`, wrong(reply, [400], place));
          }
        }
        expect(list).toEqual([]);
        await expectServed(edge);
      });

      given('mask' in maker.pictures)('refuses masks of another size', async () => {
        const small = blackPng(32, 32);
        const reply = await answer(edge, maker, { ...maker.good, ...maker.pictures.mask!(small) });
        expect(wrong(reply, [400], 'mask')).toBeUndefined();
      });

      it('refuses bodies over the limit, of other types, and that are no JSON', async () => {
        const type = maker.isForm ? 'multipart/form-data; boundary=x' : 'application/json';
        const large = Buffer.alloc(LIMIT + 2 ** 14, ' ');
        // Of a body that says its length nothing has to arrive: it is refused at once.
        const begun = await postAlone(edge.url + maker.path, type, large.subarray(0, 1024), large.length);
        const whole = await postAlone(edge.url + maker.path, type, large);
        const cases: [string | Uint8Array, string, number][] = [
          ['', type, 400],
          ['{"prompt":', type, 400],
          ['[]', type, 400],
          [new Uint8Array([0xff, 0xfe, 0]), type, 400],
          ['{"prompt":"x"}', 'text/plain', 415],
          ['prompt=x', 'application/x-www-form-urlencoded', 415],
        ];
        const { list, note } = problems();
        note('length over the limit', wrong(begun, [413]));
        note('body over the limit', wrong(whole, [413]));
        for (const [body, type, status] of cases) {
          const reply = await postAlone(edge.url + maker.path, type, body, Buffer.byteLength(body));
          note(`${status}`, wrong(reply, [status]));
        }
        expect(list).toEqual([]);
        await expectServed(edge);
      });
    });

    it('modules refuse pictures that are none', async () => {
      const { list, note } = problems();
      const detect = async (image: string) =>
        read(await post(edge, '/controlnet/detect', { controlnet_images: [image] }));
      for (const { what, bytes, isPicture } of pictures) {
        const reply = await detect(bytes.toString('base64'));
        note(what, isPicture ? refusal(reply) : wrong(reply, [400], 'controlnet_images[0]'));
      }
      for (const text of texts) note(show(text), wrong(await detect(text), [400], 'controlnet_images[0]'));
      expect(list).toEqual([]);
    });

    it('png-info finds nothing in what has nothing', async () => {
      for (const { what, bytes } of pictures) {
        const response = await post(edge, '/sdapi/v1/png-info', { image: bytes.toString('base64') });
        expect([what, response.status, (await response.json()).info]).toEqual([what, 200, '']);
      }
      for (const image of texts) expect((await post(edge, '/sdapi/v1/png-info', { image })).status).toBe(400);
    });

    it('names in paths are names and nothing else', async () => {
      const { list, note } = problems();
      for (const name of [...names, 'nope', '../../etc/passwd\0.png', '%', '☃'])
        for (const path of ['/v1/models/', '/v1/images/', '/v1/jobs/']) {
          const reply = await read(await edge.fetch(path + encodeURIComponent(name).replaceAll('.', '%2e')));
          note(path + name, wrong(reply, [404]));
        }
      expect(list).toEqual([]);
    });

    it('other sites post nothing, to no route', async () => {
      const { paths } = await (await edge.fetch('/openapi.json')).json();
      const posts = Object.entries(paths as Record<string, object>).flatMap(([path, methods]) =>
        Object.keys(methods)
          .filter((method) => method !== 'get')
          .map((method) => [method.toUpperCase(), path.replace(/\{\w+\}/g, 'x')] as const),
      );
      expect(posts.length).toBeGreaterThan(6);
      for (const [method, path] of posts) {
        const response = await edge.fetch(path, { method, headers: { origin: 'https://evil.example' } });
        expect([path, response.status, (await response.json()).error.code]).toEqual([
          ...[path, 403, 'origin_not_allowed'],
        ]);
      }
    });
  });
}

const post = (edge: Connected, path: string, body: object) =>
  edge.fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

/**
 * On a connection of its own: of one whose body nobody wanted the next request may find nothing but its end.
 * @param length what the request says of its body, of which `body` may be the beginning; none: it comes in parts.
 */
function postAlone(url: string, type: string, body: string | Uint8Array, length?: number): Promise<Reply> {
  return new Promise<Reply>((resolve, reject) => {
    const headers = { 'content-type': type, ...(length !== undefined && { 'content-length': length }) };
    const sent = request(url, { method: 'POST', agent: false, headers }, (response) => {
      const all = Object.entries(response.headers).map(([name, value]) => [name, String(value)]);
      const reply = async () => ({
        status: response.statusCode!,
        headers: new Headers(all as [string, string][]),
        body: JSON.parse(Buffer.concat(await response.toArray()).toString()),
      });
      reply()
        .then(resolve, reject)
        .finally(() => sent.destroy());
    });
    sent.on('error', reject);
    sent.write(body);
    if (length === undefined || length === Buffer.byteLength(body)) sent.end();
  });
}

interface Reply {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: any JSON
  body: any;
}

/** A job's is that of its result. */
async function answer(edge: Connected, maker: Maker, fields: Fields): Promise<Reply> {
  let response = await maker.send(edge, fields);
  if (response.status === 202) {
    const { id } = await response.json();
    do response = await edge.fetch(`/v1/jobs/${id}/result`);
    while (response.status === 409);
  }
  return read(response);
}

const read = async (response: Response): Promise<Reply> => ({
  ...{ status: response.status, headers: response.headers, body: await response.json() },
});

const refusal = ({ status, body }: Reply) =>
  status === 200 ? undefined : `status ${status}: ${JSON.stringify(body).slice(0, 200)}`;

/**
 * What is not right about a refusal; undefined: nothing.
 * @param field the one at fault: its name, or where in it.
 */
function wrong({ status, headers, body }: Reply, statuses: number[], field?: string): string | undefined {
  if (!statuses.includes(status)) return `status ${status}: ${JSON.stringify(body).slice(0, 200)}`;
  const { message, type, param, code } = body.error ?? {};
  if (type !== 'invalid_request_error' || !/^[a-z_]+$/.test(code)) return `type ${type}, code ${code}`;
  if (typeof message !== 'string' || message.length < 10 || message.length > 1200)
    return `message ${message}`;
  if (/node_modules|\.ts:|\/home|\/root|[^/]\/tmp/.test(message)) return `message ${message}`;
  if ('detail' in body && body.detail !== message) return `detail ${body.detail}`;
  if (!headers.get('x-request-id')) return 'no x-request-id';
  const isThere = field === undefined || param === field || param?.startsWith(`${field}[`);
  return isThere || param?.startsWith(`${field}.`) ? undefined : `param ${param}: ${message}`;
}

/** The tests' own list of what went wrong, each with what was sent. */
function problems() {
  const list: string[] = [];
  return {
    list,
    note: (sent: string, problem: string | undefined) => void (problem && list.push(`${sent} → ${problem}`)),
  };
}

async function expectServed(edge: Connected): Promise<void> {
  expect((await edge.fetch('/healthz')).status).toBe(200);
  const { good, send } = makers.generations!;
  expect((await send(edge, good)).status).toBe(200);
}

const show = (value: unknown) =>
  (value instanceof Raw ? value.text : JSON.stringify(value)).replaceAll(PIXELS_64, '…').slice(0, 100);
