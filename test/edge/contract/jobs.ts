import { describe, expect, it } from 'vitest';
import { SidecarError } from '../../../edge/sidecar/client.ts';
import { fakeSidecar, PIXEL } from '../../support/fake-sidecar.ts';
import type { Edge } from '../../support/runtimes.ts';
import { as, guardedEnv } from './guarded.ts';

const MAX = 6;

/** What `jobs` is run with. */
export const jobsEnv = { ...guardedEnv, JOBS_MAX: String(MAX), MAX_BODY_BYTES: '60000' };

const TIMEOUT = { timeout: 20_000 };

/** POST /v1/jobs, and what becomes of them. */
export function jobs(edge: () => Edge): void {
  const call = async (
    method: string,
    path: string,
    {
      who = 'ana',
      body,
      headers,
    }: { who?: string | undefined; body?: object; headers?: Record<string, string> } = {},
  ) => {
    const response = await edge().fetch(path, {
      method,
      headers: { ...as(who), 'content-type': 'application/json', ...headers },
      body: body && JSON.stringify(body),
    });
    return { status: response.status, headers: response.headers, reply: await response.json() };
  };
  const start = async (body: object = {}) =>
    (await call('POST', '/v1/jobs', { body: { prompt: 'x', ...body } })).reply as { id: string };
  const until = (id: string, status: string, who?: string) =>
    expect
      .poll(async () => (await call('GET', `/v1/jobs/${id}`, { who })).reply.status, TIMEOUT)
      .toBe(status);

  describe('a job', () => {
    it('goes on without its caller, tells how far it is, and keeps what it made', async () => {
      const sidecar = edge().use(fakeSidecar({ steps: 3, pauseAfter: 2 }));
      const { status, headers, reply } = await call('POST', '/v1/jobs', {
        body: { prompt: 'x', seed: 3, n: 2 },
        headers: { 'x-request-id': 'job-of-ana' },
      });
      expect(status).toBe(202);
      expect(headers.get('x-request-id')).toBe('job-of-ana');
      expect(reply).toMatchObject({ object: 'job', error: null, finished_at: null });
      expect(reply.id).toMatch(/^job_[\w-]{32}$/);
      const path = headers.get('location')!;
      expect(path).toBe(`/v1/jobs/${reply.id}`);
      await expect.poll(async () => (await call('GET', path)).reply.step, TIMEOUT).toBe(2);
      const early = await call('GET', `${path}/result`);
      expect([early.status, early.reply.error.code]).toEqual([409, 'job_not_finished']);
      expect(early.headers.get('retry-after')).toBe('1');
      const running = (await call('GET', path)).reply;
      const preview = { b64_json: PIXEL.toString('base64') };
      expect(running).toMatchObject({ status: 'running', total: 3, preview });
      sidecar.go();
      await until(reply.id, 'succeeded');
      expect((await call('GET', path)).reply).toMatchObject({ step: 3, total: 3, preview: null });
      const { data, effective } = (await call('GET', `${path}/result`)).reply;
      expect(data).toMatchObject([3, 4].map((seed) => ({ seed, b64_json: PIXEL.toString('base64') })));
      expect(effective.ignored).toEqual([]);
      expect(sidecar.cancelled).toBe(0);
    });

    it('makes way for others, unless it is said to be waited for', async () => {
      const sidecar = edge().use(fakeSidecar());
      for (const priority of [undefined, 'interactive']) {
        const { id } = await start({ priority });
        await until(id, 'succeeded');
      }
      expect(sidecar.requests.map(({ priority }) => priority)).toEqual(['bulk', 'interactive']);
    });

    it('says what of it has no effect: previews have', async () => {
      edge().use(fakeSidecar());
      const { id } = await start({ partial_images: 2, response_format: 'url', quality: 'high' });
      await until(id, 'succeeded');
      const { data, effective } = (await call('GET', `/v1/jobs/${id}/result`)).reply;
      expect(data[0].b64_json).toBe(PIXEL.toString('base64'));
      expect(effective.ignored).toEqual(['quality: has no effect here', 'response_format: not with jobs']);
    });

    it('has the limits of its key', async () => {
      const sidecar = edge().use(fakeSidecar());
      await call('POST', '/v1/jobs', { who: 'bob', body: { prompt: 'x' } });
      await expect.poll(() => sidecar.requests.map(({ maxPixels }) => maxPixels), TIMEOUT).toEqual([4096]);
    });

    it('gives the picture itself, however large it is', async () => {
      const image = Buffer.from(new Uint8Array(2_500_000).map((_, i) => (i * i) >> 7));
      edge().use(fakeSidecar({ image }));
      const { id } = await start();
      await until(id, 'succeeded');
      const headers = { ...as('ana'), accept: 'image/png' };
      const response = await edge().fetch(`/v1/jobs/${id}/result`, { headers });
      expect(image.equals(Buffer.from(await response.arrayBuffer()))).toBe(true);
      expect(response.headers.get('content-type')).toBe('image/png');
    });

    it('is cancelled within a step, as often as one likes', async () => {
      const sidecar = edge().use(fakeSidecar({ steps: 1000, pauseAfter: 3 }));
      const { id } = await start();
      await expect.poll(() => sidecar.steps, TIMEOUT).toBe(3);
      for (let i = 0; i < 2; i++) {
        const { status, reply } = await call('DELETE', `/v1/jobs/${id}`);
        expect([status, reply.status]).toEqual([200, 'cancelled']);
      }
      await expect.poll(() => sidecar.cancelled, TIMEOUT).toBe(1);
      expect(sidecar.steps).toBe(3);
      const result = await call('GET', `/v1/jobs/${id}/result`);
      expect([result.status, result.reply.error.code]).toEqual([409, 'job_cancelled']);
    });

    it('stays what it is when it is cancelled too late', async () => {
      edge().use(fakeSidecar());
      const { id } = await start();
      await until(id, 'succeeded');
      expect((await call('DELETE', `/v1/jobs/${id}`)).reply.status).toBe('succeeded');
    });

    it("is nobody else's, whoever they say they are", async () => {
      edge().use(fakeSidecar());
      const { id } = await start();
      await until(id, 'succeeded');
      const headers = { 'x-latent-edge-caller': '{"name":"ana"}' };
      for (const [method, path] of [
        ['GET', ''],
        ['GET', '/result'],
        ['DELETE', ''],
      ])
        for (const who of ['bob', 'root']) {
          const { status, reply } = await call(method!, `/v1/jobs/${id}${path}`, { who, headers });
          expect([status, reply.error.code]).toEqual([404, 'job_not_found']);
        }
      expect((await call('GET', `/v1/jobs/${id}`)).status).toBe(200);
      expect((await call('GET', '/v1/jobs/job_x')).status).toBe(404);
    });

    it('that failed has the status of its failure', async () => {
      const error = new SidecarError('Told so', { code: 'model_not_found', httpStatus: 404, field: 'model' });
      edge().use(fakeSidecar({ fail: { error } }));
      const { id } = await start();
      await until(id, 'failed');
      const told = { message: 'Told so', code: 'model_not_found', param: 'model' };
      expect((await call('GET', `/v1/jobs/${id}`)).reply.error).toMatchObject(told);
      const result = await call('GET', `/v1/jobs/${id}/result`);
      expect([result.status, result.reply.error]).toMatchObject([404, told]);
    });

    it('waits where the queue is full, and is begun when there is room', async () => {
      const error = new SidecarError('Full', { code: 'queue_full', httpStatus: 429, retryAfterMs: 100 });
      const full = edge().use(fakeSidecar({ fail: { error } }));
      const { id } = await start();
      await expect.poll(() => full.requests.length, TIMEOUT).toBeGreaterThan(2);
      expect((await call('GET', `/v1/jobs/${id}`)).reply).toMatchObject({ status: 'queued', error: null });
      const free = edge().use(fakeSidecar());
      await until(id, 'succeeded');
      expect(free.requests).toEqual([full.requests[0]]);
    });

    it.each([
      [{ prompt: '' }, 'prompt'],
      [{ prompt: 'x', steps: 0 }, 'steps'],
      [{ prompt: 'x', webhook: { url: 'x' } }, 'webhook.url'],
      [{ prompt: 'x', webhook: { url: 'https://hooks.example/' } }, 'webhook.url'],
    ])('is not begun with %o', async (body, param) => {
      const sidecar = edge().use(fakeSidecar());
      const { status, reply } = await call('POST', '/v1/jobs', { body });
      expect([status, reply.error.param]).toEqual([400, param]);
      expect(reply.error.message).toMatch(/^Expected (some|at least|an https|no webhook)/);
      expect(sidecar.requests).toEqual([]);
    });

    it('is not begun without the scope for it, with no JSON, or with too much', async () => {
      const sidecar = edge().use(fakeSidecar());
      const body = { prompt: 'x' };
      const refusals = [
        await call('POST', '/v1/jobs', { who: 'reader', body }),
        await call('POST', '/v1/jobs', { body, headers: { 'content-type': 'text/plain' } }),
        await call('POST', '/v1/jobs', { body: { prompt: 'x', user: 'x'.repeat(60_000) } }),
        await call('PUT', '/v1/jobs', { body }),
      ];
      expect(refusals.map(({ status, reply }) => [status, reply.error.code])).toEqual([
        [403, 'insufficient_scope'],
        [415, 'unsupported_media_type'],
        [413, 'body_too_large'],
        [405, 'method_not_allowed'],
      ]);
      expect(sidecar.requests).toEqual([]);
    });
  });

  describe('a job that is asked for again', () => {
    const ask = (body: object, key: string, who = 'ana') =>
      call('POST', '/v1/jobs', { who, body: { prompt: 'x', ...body }, headers: { 'idempotency-key': key } });

    it('with its key is the same job, also when it is done', async () => {
      const sidecar = edge().use(fakeSidecar());
      const first = await ask({}, 'once');
      const second = await ask({}, 'once');
      expect([first.status, second.status, second.reply.id]).toEqual([202, 202, first.reply.id]);
      await until(first.reply.id, 'succeeded');
      expect((await ask({}, 'once')).reply).toMatchObject({ id: first.reply.id, status: 'succeeded' });
      expect(sidecar.requests).toHaveLength(1);
      for (const [key, who] of [
        ['twice', 'ana'],
        ['once', 'bob'],
      ] as const) {
        const other = await ask({}, key, who);
        expect([other.status, other.reply.id === first.reply.id]).toEqual([202, false]);
        await until(other.reply.id, 'succeeded', who);
      }
    });

    it.each([{ steps: 7 }, { seed: 1 }, { user: 'me' }])('is refused as another: %o', async (body) => {
      const key = JSON.stringify(body);
      edge().use(fakeSidecar());
      const first = await ask({}, key);
      expect(first.status).toBe(202);
      const { status, reply } = await ask(body, key);
      expect([status, reply.error.code]).toEqual([422, 'idempotency_conflict']);
      // Left under way, it might begin at the next test's sidecar.
      await until(first.reply.id, 'succeeded');
    });
  });

  it(`more than ${MAX} under way are refused, until one is cancelled`, async () => {
    const sidecar = edge().use(fakeSidecar({ pauseAfter: 1 }));
    // What has told of a step is heard by the edge, so that nothing of it is still on its way.
    const begun = async () => {
      const { id } = await start();
      await expect.poll(async () => (await call('GET', `/v1/jobs/${id}`)).reply.step, TIMEOUT).toBe(1);
      return id;
    };
    const under = [];
    for (let i = 0; i < MAX; i++) under.push(await begun());
    const { status, headers, reply } = await call('POST', '/v1/jobs', { body: { prompt: 'x' } });
    expect([status, reply.error.code]).toEqual([429, 'too_many_jobs']);
    expect(headers.get('retry-after')).toBe('5');
    await call('DELETE', `/v1/jobs/${under.shift()}`);
    under.push(await begun());
    for (const id of under) await call('DELETE', `/v1/jobs/${id}`);
    await expect.poll(() => sidecar.cancelled, TIMEOUT).toBe(MAX + 1);
  });
}
