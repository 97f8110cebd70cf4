import { expect, it } from 'vitest';
import { fakeSidecar, PIXEL } from '../../support/fake-sidecar.ts';
import type { Edge } from '../../support/runtimes.ts';
import { as } from './guarded.ts';
import { generate } from './requests.ts';

/** Seeded requests, asked for again; run with `guardedEnv`. */
export function caching(edge: () => Edge): void {
  // A seed of its own for each test: what is kept stays.
  let seed = 1000;
  const ask = (body: object, who = 'ana', headers: Record<string, string> = {}) =>
    generate(edge(), body, { headers: { ...as(who), ...headers } });

  it('are made once, and are the same byte for byte', async () => {
    const sidecar = edge().use(fakeSidecar());
    const body = { seed: seed++, colour: 1 };
    const first = await ask(body);
    const second = await ask(body);
    expect(sidecar.requests).toHaveLength(1);
    expect(first.headers.get('cache-status')).toBe('latent-edge; fwd=miss; stored');
    expect(second.headers.get('cache-status')).toBe('latent-edge; hit');
    expect(second.headers.get('etag')).toBe(first.headers.get('etag'));
    expect(first.headers.get('cache-control')).toBe('private, max-age=3600');
    expect(await second.text()).toBe(await first.text());
  });

  it('can be fetched by their hash, once more only where they changed', async () => {
    edge().use(fakeSidecar());
    const made = await ask({ seed: seed++ });
    const path = made.headers.get('content-location')!;
    const get = (headers: Record<string, string>) =>
      edge().fetch(path, { headers: { ...as('ana'), ...headers } });
    const again = await get({});
    expect([again.status, again.headers.get('etag')]).toEqual([200, made.headers.get('etag')]);
    expect(await again.text()).toBe(await made.text());
    const known = await get({ 'if-none-match': `"other", ${again.headers.get('etag')}` });
    expect([known.status, await known.text()]).toEqual([304, '']);
    const picture = await get({ accept: 'image/png', 'if-none-match': again.headers.get('etag')! });
    expect([picture.status, picture.headers.get('content-type')]).toEqual([200, 'image/png']);
    expect(Buffer.from(await picture.arrayBuffer())).toEqual(PIXEL);
    expect(picture.headers.get('etag')).not.toBe(again.headers.get('etag'));
  });

  it("are nobody else's", async () => {
    const sidecar = edge().use(fakeSidecar());
    const body = { seed: seed++ };
    const path = (await ask(body)).headers.get('content-location')!;
    for (const who of ['bob', 'root']) {
      const response = await edge().fetch(path, { headers: as(who) });
      expect([response.status, (await response.json()).error.code]).toEqual([404, 'image_not_found']);
    }
    await ask(body, 'bob');
    expect(sidecar.requests).toHaveLength(2);
    expect((await edge().fetch(`/v1/images/${'0'.repeat(64)}`, { headers: as('ana') })).status).toBe(404);
  });

  it.each<[string, object, Record<string, string>]>([
    ['without a seed', {}, {}],
    ['as a stream', { seed: 1, stream: true }, {}],
    ['with adapters', { seed: 1, loras: [{ name: 'a' }] }, {}],
    ['when told not to be kept', { seed: 2 }, { 'cache-control': 'no-store' }],
    ['when told to be made anew', { seed: 3 }, { 'cache-control': 'no-cache' }],
  ])('are made each time %s', async (_, body, headers) => {
    const sidecar = edge().use(fakeSidecar());
    for (let i = 0; i < 2; i++) await (await ask(body, 'ana', headers)).text();
    expect(sidecar.requests).toHaveLength(2);
  });

  it('are others when anything of them is', async () => {
    const sidecar = edge().use(fakeSidecar());
    const same = { seed: seed++ };
    const bodies = [
      same,
      { ...same, steps: 7 },
      { ...same, prompt: 'y' },
      { ...same, colour: 1 },
      { ...same, n: 2 },
    ];
    for (const body of bodies) await (await ask(body)).text();
    await (await ask(same, 'ana', { accept: 'image/webp' })).text();
    expect(sidecar.requests).toHaveLength(bodies.length + 1);
  });
}
