import { expect, it } from 'vitest';
import { SidecarError } from '../../../edge/sidecar/client.ts';
import { fakeSidecar, PIXEL } from '../../support/fake-sidecar.ts';
import type { Edge } from '../../support/runtimes.ts';
import { events, generate } from './requests.ts';

/** One of each: a reply, a stream, a picture, lists, errors, ids. */
export function basics(edge: () => Edge): void {
  it('replies with images, seeds and the effective parameters', async () => {
    const sidecar = edge().use(fakeSidecar());
    const response = await generate(edge(), { n: 2, seed: 7, guidance_scale: 0, size: '64x128' });
    expect(response.status).toBe(200);
    const reply = await response.json();
    expect(reply.data).toMatchObject([7, 8].map((seed) => ({ b64_json: PIXEL.toString('base64'), seed })));
    expect(reply.effective).toMatchObject({ model: 'tiny', seeds: [7, 8], steps_run: 4, guidance_scale: 0 });
    expect(sidecar.requests[0]).toMatchObject({ seeds: [7, 8], width: 64, height: 128, guidanceScale: 0 });
  });

  it('gives the picture itself', async () => {
    edge().use(fakeSidecar());
    const response = await generate(edge(), { seed: 3 }, { headers: { accept: 'image/png' } });
    expect(response.headers.get('content-type')).toBe('image/png');
    expect(response.headers.get('x-seed')).toBe('3');
    expect(Buffer.from(await response.arrayBuffer())).toEqual(PIXEL);
  });

  it('streams progress, previews and the picture', async () => {
    edge().use(fakeSidecar({ steps: 3 }));
    const response = await generate(edge(), { stream: true, progress: true, partial_images: 1 });
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
    const names = (await events(response)).map(({ name }) => name.split('.')[1]);
    expect(names).toEqual(['progress', 'partial_image', 'progress', 'progress', 'completed']);
  });

  it('carries large pictures', async () => {
    const image = Buffer.alloc(2 * 2 ** 20, 5);
    edge().use(fakeSidecar({ image }));
    const { data } = await (await generate(edge(), {})).json();
    expect(Buffer.from(data[0].b64_json, 'base64').equals(image)).toBe(true);
  });

  it('lists models, tells its health and its schemas', async () => {
    edge().use(fakeSidecar());
    expect((await (await edge().fetch('/v1/models')).json()).data).toMatchObject([{ id: 'tiny' }]);
    expect(await (await edge().fetch('/healthz')).json()).toMatchObject({ status: 'ok' });
    expect((await (await edge().fetch('/openapi.json')).json()).openapi).toMatch(/^3\.1/);
    // A page of it; Workers, which have none, lead to the schemas themselves.
    const docs = await edge().fetch('/docs');
    if (edge().runtime === 'Node') expect(await docs.text()).toContain('swagger-ui');
    else expect((await docs.json()).openapi).toMatch(/^3\.1/);
  });

  it('serves the playground, which may run no scripts but its own, also from a cache', async () => {
    edge().use(fakeSidecar());
    const page = await edge().fetch('/');
    expect(page.headers.get('content-type')).toMatch(/^text\/html/);
    const paths = [...(await page.text()).matchAll(/(?:src|href)="(\/playground\/[^"]+)"/g)].map(
      ([, path]) => path!,
    );
    expect(paths).toEqual(expect.arrayContaining(['/playground/app.js', '/playground/app.css']));
    const cached = { headers: { 'if-none-match': page.headers.get('etag')! } };
    const again = await edge().fetch('/', cached);
    expect(again.status).toBe(304);
    for (const { headers } of [page, again])
      expect(headers.get('content-security-policy')).toMatch(/^default-src 'self';(?!.*(unsafe|\*))/);
    for (const path of paths) expect((await edge().fetch(path)).status).toBe(200);
  });

  it('lists what else can be named', async () => {
    edge().use(fakeSidecar());
    const names = await (await edge().fetch('/v1/names')).json();
    expect(Object.keys(names)).toEqual([
      'samplers',
      'schedules',
      'preprocessors',
      'loras',
      'hires_upscalers',
      'embeddings',
    ]);
    expect(names.samplers[0]).toMatchObject({ name: expect.any(String), aliases: expect.any(Array) });
  });

  it.each([false, true])("passes the sidecar's error on, stream %s", async (stream) => {
    const details = { code: 'queue_full', httpStatus: 429, retryAfterMs: 1500 };
    edge().use(fakeSidecar({ fail: { error: new SidecarError('Told so', details) } }));
    const response = await generate(edge(), { stream });
    expect([response.status, response.headers.get('retry-after')]).toEqual([429, '2']);
    expect((await response.json()).error).toEqual({
      message: 'Told so',
      type: 'rate_limit_error',
      param: null,
      code: 'queue_full',
    });
  });

  it('tells of a failure in the middle as an event', async () => {
    const error = new SidecarError('Out', { code: 'out_of_memory', httpStatus: 503 });
    edge().use(fakeSidecar({ fail: { error, afterSteps: 2 } }));
    const all = await events(await generate(edge(), { stream: true }));
    expect(all.at(-1)).toMatchObject({ name: 'error', error: { code: 'out_of_memory' } });
  });

  it('has a request id on every reply, and passes it on', async () => {
    const sidecar = edge().use(fakeSidecar());
    const response = await generate(edge(), {}, { headers: { 'x-request-id': 'abc-1' } });
    expect(response.headers.get('x-request-id')).toBe('abc-1');
    expect(sidecar.options[0]!.requestId).toBe('abc-1');
    const nowhere = await edge().fetch('/v2/nothing', { method: 'DELETE' });
    expect([nowhere.status, (await nowhere.json()).error.code]).toEqual([404, 'route_not_found']);
    expect(nowhere.headers.get('x-request-id')).toBeTruthy();
  });

  it('serves many at once', async () => {
    edge().use(fakeSidecar({ steps: 3, stepMs: 5 }));
    const seeds = Array.from({ length: 50 }, (_, i) => i);
    const replies = await Promise.all(
      seeds.map(async (seed) => (await (await generate(edge(), { seed })).json()).effective.seeds),
    );
    expect(replies).toEqual(seeds.map((seed) => [seed]));
  });
}
