import { describe, expect, it } from 'vitest';
import { createApp } from '../../edge/app.ts';
import { pictureFetcher } from '../../edge/net/pictures.ts';
import { fakeSidecar, PIXEL } from '../support/fake-sidecar.ts';
import { type Routes, serveRoutes } from '../support/web-server.ts';

const routes: Routes = {
  '/a.png': (_, response) => response.end(PIXEL),
  '/once': (_, response) => response.writeHead(302, { location: '/a.png' }).end(),
  '/loopback': (_, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end(),
  '/metadata': (_, response) => response.writeHead(302, { location: 'http://169.254.169.254/' }).end(),
  '/other': (_, response) => response.writeHead(302, { location: 'http://other.test/' }).end(),
  '/gone': (_, response) => response.writeHead(404).end(),
  '/large': (_, response) => response.end(Buffer.alloc(5000)),
  '/endless': (_, response) => {
    response.write('a');
    const more = setInterval(() => response.write('a'), 20);
    response.on('close', () => clearInterval(more));
  },
};

const served = serveRoutes(routes);

/** What the resolver says, one answer after the other; the last stays. */
const fetcher = (
  hosts: string[],
  answers = ['127.0.0.1'],
  isAllowed: (at: string) => boolean = (at) => at === '127.0.0.1',
) => {
  let asked = 0;
  return pictureFetcher(hosts, {
    ...{ maxBytes: 1000, timeoutMs: 5000, isAllowed },
    resolve: async () => [answers[Math.min(asked++, answers.length - 1)]!],
  });
};

const post = (path: string, body: object, sidecar = fakeSidecar(), fetchPicture = fetcher(['cdn.test'])) =>
  createApp({ sidecar, fetchPicture }).request(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
const at = (path: string, host = 'cdn.test') => `http://${host}:${served.port}${path}`;
const generate = (init_image: string, fetchPicture?: ReturnType<typeof fetcher>) =>
  post('/v1/images/generations', { prompt: 'x', init_image }, undefined, fetchPicture);

describe('pictures by address, where the operator has switched them on', () => {
  it('are fetched wherever a picture may stand', async () => {
    const sidecar = fakeSidecar();
    const url = at('/a.png');
    const bodies: [string, object][] = [
      [
        '/v1/images/generations',
        { init_image: url, mask: url, control: [{ model: 'c', image: at('/once') }] },
      ],
      ['/sdapi/v1/img2img', { init_images: [url], mask: url }],
    ];
    for (const [path, body] of bodies)
      expect((await post(path, { prompt: 'x', ...body }, sidecar)).status).toBe(200);
    for (const { initImage, mask } of sidecar.requests)
      expect([initImage, mask].map((file) => PIXEL.equals(file as Uint8Array))).toEqual([true, true]);
    expect(PIXEL.equals(sidecar.requests[0]!.control![0]!.image as Uint8Array)).toBe(true);
    const detected = await post('/controlnet/detect', { controlnet_input_images: [url] }, sidecar);
    expect([detected.status, sidecar.preprocessed.length]).toEqual([200, 1]);
  });

  it('are fetched for units of a ControlNet, but not for those that are off', async () => {
    const sidecar = fakeSidecar();
    const unit = { model: 'c', module: 'none' };
    const units = (args: object[]) => ({ prompt: 'x', alwayson_scripts: { ControlNet: { args } } });
    const nowhere = { ...unit, image: at('/a.png', 'other.test') };
    const body = units([
      { ...nowhere, enabled: false },
      { ...unit, image: at('/a.png') },
      { ...unit, image: { image: at('/once'), mask: null } },
      { ...unit, input_image: at('/a.png') },
    ]);
    expect((await post('/sdapi/v1/txt2img', body, sidecar)).status).toBe(200);
    const images = sidecar.requests[0]!.control!.map(({ image }) => PIXEL.equals(image as Uint8Array));
    expect(images).toEqual([true, true, true]);
    const refused = await post('/sdapi/v1/txt2img', units([nowhere]));
    const { error } = await refused.json();
    expect([refused.status, error.param]).toEqual([400, 'alwayson_scripts.ControlNet.args[0].image']);
  });

  it.each([
    ['/loopback', 'is none of the hosts'],
    ['/metadata', 'is none of the hosts'],
    ['/other', 'is none of the hosts'],
    ['/gone', 'its server answered 404'],
    ['/large', 'more than 1000 bytes'],
  ])('are not sent on, or are none: %s', async (path, why) => {
    const response = await generate(at(path));
    const { error } = await response.json();
    expect([response.status, error.param, error.code]).toEqual([400, 'init_image', 'invalid_argument']);
    expect(error.message).toContain(why);
  });

  it.each(['/loopback', '/metadata'])('of any host are of public ones: %s', async (path) => {
    // As if the first host were public, and loopback itself were not.
    let looks = 0;
    const any = fetcher(['*'], ['127.0.0.1'], () => looks++ === 0);
    const { error } = await (await generate(at(path), any)).json();
    expect(error.message).toContain('is no public address');
  });

  it('go to the address that was looked at, whatever the name says next', async () => {
    // The second answer would lead to the inside: it is not asked for.
    expect((await generate(at('/a.png'), fetcher(['cdn.test'], ['127.0.0.1', '10.0.0.1']))).status).toBe(200);
    // It is, where a redirect asks for the name again, and looked at.
    const { error } = await (
      await generate(at('/once'), fetcher(['cdn.test'], ['127.0.0.1', '10.0.0.1']))
    ).json();
    expect(error.message).toContain('is no public address');
  });

  it('have their time', async () => {
    const slow = pictureFetcher(['*'], {
      ...{ maxBytes: 1000, timeoutMs: 200, isAllowed: () => true, resolve: async () => ['127.0.0.1'] },
    });
    const { error } = await (await generate(at('/endless'), slow)).json();
    expect(error.message).toContain('takes too long');
  });

  it('come from nowhere else', async () => {
    for (const url of [at('/a.png', 'other.test'), 'http://[', 'https:', 'http://u:p@cdn.test/']) {
      const response = await generate(url);
      expect([url, response.status, (await response.json()).error.param]).toEqual([url, 400, 'init_image']);
    }
    expect((await generate('file:///etc/passwd')).status).toBe(400);
  });

  it('are at most sixteen', async () => {
    const images = Array.from({ length: 9 }, () => at('/a.png'));
    const body = { controlnet_input_images: images, controlnet_masks: images };
    const response = await post('/controlnet/detect', body);
    expect([response.status, (await response.json()).error.param]).toEqual([400, 'controlnet_masks[7]']);
  });
});
