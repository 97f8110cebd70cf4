import { createHmac } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { createApp } from '../../edge/app.ts';
import type { Job } from '../../edge/jobs/job.ts';
import { JobStore } from '../../edge/jobs/store.ts';
import { SidecarError } from '../../edge/sidecar/client.ts';
import { fakeSidecar, PIXEL } from '../support/fake-sidecar.ts';
import { type Edge, nodeRuntime } from '../support/runtimes.ts';
import { as, guardedEnv } from './contract/guarded.ts';

let edge: Edge;
beforeAll(async () => {
  edge = await nodeRuntime.start(guardedEnv);
});
afterAll(() => edge.stop());
afterEach(() => {
  vi.useRealTimers();
});

const call = async (method: string, path: string, who = 'ana', body?: object) => {
  const response = await edge.fetch(path, {
    method,
    headers: { ...as(who), 'content-type': 'application/json' },
    body: body && JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, reply: await response.json() };
};
const start = async (body: object = {}, who = 'ana') =>
  (await call('POST', '/v1/jobs', who, { prompt: 'x', ...body })).reply as { id: string; status: string };
const until = (id: string, status: string) =>
  expect
    .poll(async () => (await call('GET', `/v1/jobs/${id}`)).reply.status, { timeout: 20_000 })
    .toBe(status);

describe('a job', () => {
  it('goes on without its caller, tells how far it is, and keeps what it made', async () => {
    const sidecar = edge.use(fakeSidecar({ steps: 300, stepMs: 10 }));
    const { status, headers, reply } = await call('POST', '/v1/jobs', 'ana', { prompt: 'x', seed: 3, n: 2 });
    expect(status).toBe(202);
    expect(reply).toMatchObject({ object: 'job', step: 0, error: null, finished_at: null });
    expect(reply.id).toMatch(/^job_[\w-]{32}$/);
    const path = headers.get('location')!;
    expect(path).toBe(`/v1/jobs/${reply.id}`);
    await until(reply.id, 'running');
    const early = await call('GET', `${path}/result`);
    expect([early.status, early.reply.error.code]).toEqual([409, 'job_not_finished']);
    expect(early.headers.get('retry-after')).toBe('1');
    const running = (await call('GET', path)).reply;
    expect(running).toMatchObject({ total: 300, preview: { b64_json: PIXEL.toString('base64') } });
    await until(reply.id, 'succeeded');
    expect((await call('GET', path)).reply).toMatchObject({ step: 300, total: 300, preview: null });
    const { data, effective } = (await call('GET', `${path}/result`)).reply;
    expect(data.map(({ seed }: { seed: number }) => seed)).toEqual([3, 4]);
    expect(effective.ignored).toEqual([]);
    expect(sidecar.cancelled).toBe(0);
  });

  it('makes way for others, unless it is said to be waited for', async () => {
    const sidecar = edge.use(fakeSidecar());
    for (const priority of [undefined, 'interactive']) {
      const { id } = await start({ priority });
      await until(id, 'succeeded');
    }
    expect(sidecar.requests.map(({ priority }) => priority)).toEqual(['bulk', 'interactive']);
  });

  it('gives the picture itself', async () => {
    edge.use(fakeSidecar());
    const { id } = await start();
    await until(id, 'succeeded');
    const response = await edge.fetch(`/v1/jobs/${id}/result`, {
      headers: { ...as('ana'), accept: 'image/png' },
    });
    expect(Buffer.from(await response.arrayBuffer())).toEqual(PIXEL);
  });

  it('is cancelled, as often as one likes', async () => {
    const sidecar = edge.use(fakeSidecar({ steps: 1000, stepMs: 5 }));
    const { id } = await start();
    await until(id, 'running');
    for (let i = 0; i < 2; i++) {
      const { status, reply } = await call('DELETE', `/v1/jobs/${id}`);
      expect([status, reply.status]).toEqual([200, 'cancelled']);
    }
    await expect.poll(() => sidecar.cancelled, { timeout: 20_000 }).toBe(1);
    const result = await call('GET', `/v1/jobs/${id}/result`);
    expect([result.status, result.reply.error.code]).toEqual([409, 'job_cancelled']);
  });

  it('stays what it is when it is cancelled too late', async () => {
    edge.use(fakeSidecar());
    const { id } = await start();
    await until(id, 'succeeded');
    expect((await call('DELETE', `/v1/jobs/${id}`)).reply.status).toBe('succeeded');
  });

  it("is nobody else's", async () => {
    edge.use(fakeSidecar());
    const { id } = await start();
    await until(id, 'succeeded');
    for (const [method, path] of [
      ['GET', ''],
      ['GET', '/result'],
      ['DELETE', ''],
    ])
      for (const who of ['bob', 'root']) {
        const { status, reply } = await call(method!, `/v1/jobs/${id}${path}`, who);
        expect([status, reply.error.code]).toEqual([404, 'job_not_found']);
      }
    expect((await call('GET', `/v1/jobs/${id}`)).status).toBe(200);
    expect((await call('GET', '/v1/jobs/job_x')).status).toBe(404);
  });

  it('that failed has the status of its failure', async () => {
    const error = new SidecarError('Told so', { code: 'model_not_found', httpStatus: 404, field: 'model' });
    edge.use(fakeSidecar({ fail: { error } }));
    const { id } = await start();
    await until(id, 'failed');
    const told = { message: 'Told so', code: 'model_not_found', param: 'model' };
    expect((await call('GET', `/v1/jobs/${id}`)).reply.error).toMatchObject(told);
    const result = await call('GET', `/v1/jobs/${id}/result`);
    expect([result.status, result.reply.error]).toMatchObject([404, told]);
  });

  it.each([
    [{ prompt: '' }, 'prompt'],
    [{ prompt: 'x', steps: 0 }, 'steps'],
    [{ prompt: 'x', webhook: { url: 'x' } }, 'webhook.url'],
    [{ prompt: 'x', webhook: { url: 'https://hooks.example/' } }, 'webhook.url'],
  ])('is not begun with %o', async (body, param) => {
    const sidecar = edge.use(fakeSidecar());
    const { status, reply } = await call('POST', '/v1/jobs', 'ana', body);
    expect([status, reply.error.param]).toEqual([400, param]);
    expect(sidecar.requests).toEqual([]);
  });
});

describe('a job that is asked for again', () => {
  const ask = async (body: object, key: string, who = 'ana') => {
    const response = await edge.fetch('/v1/jobs', {
      method: 'POST',
      headers: { ...as(who), 'content-type': 'application/json', 'idempotency-key': key },
      body: JSON.stringify({ prompt: 'x', ...body }),
    });
    return { status: response.status, reply: await response.json() };
  };

  it('with its key is the same job, also when it is done', async () => {
    const sidecar = edge.use(fakeSidecar());
    const first = await ask({}, 'once');
    const second = await ask({}, 'once');
    expect([first.status, second.status, second.reply.id]).toEqual([202, 202, first.reply.id]);
    await until(first.reply.id, 'succeeded');
    expect((await ask({}, 'once')).reply).toMatchObject({ id: first.reply.id, status: 'succeeded' });
    expect(sidecar.requests).toHaveLength(1);
    for (const other of [await ask({}, 'twice'), await ask({}, 'once', 'bob')])
      expect([other.status, other.reply.id === first.reply.id]).toEqual([202, false]);
  });

  it.each([{ steps: 7 }, { seed: 1 }, { user: 'me' }])('is refused as another: %o', async (body) => {
    const key = JSON.stringify(body);
    edge.use(fakeSidecar());
    expect((await ask({}, key)).status).toBe(202);
    const { status, reply } = await ask(body, key);
    expect([status, reply.error.code]).toEqual([422, 'idempotency_conflict']);
  });
});

describe('jobs together', () => {
  const request = { prompt: 'x', seeds: [1] };
  const options = { owner: '', request, ignored: [], requestId: undefined, timeoutMs: 60_000 };

  it('are bounded in number: finished ones make room, running ones do not', async () => {
    const sidecar = fakeSidecar({ steps: 1000, stepMs: 5 });
    const store = new JobStore(sidecar, { count: 2, bytes: 1e9, keepMs: 60_000 });
    const [first] = [store.start(options), store.start(options)];
    expect(() => store.start(options)).toThrow('There are 2 jobs under way');
    first!.cancel();
    const third = store.start(options);
    expect(store.find(first!.id, '')).toBeUndefined();
    expect(store.find(third.id, '')).toBe(third);
  });

  it.each([
    ['number', { count: 4, bytes: 1e9, keepMs: 60_000 }],
    ['bytes', { count: 99, bytes: 26_000, keepMs: 60_000 }],
  ])("push out no other caller's while their own are more: in %s", async (_, limits) => {
    const store = new JobStore(fakeSidecar({ image: Buffer.alloc(5000) }), limits);
    const made = async (owner: string) => {
      const job = store.start({ ...options, owner });
      await job.done;
      return job;
    };
    const ana = await made('ana');
    const bob = [];
    for (let i = 0; i < 6; i++) bob.push(await made('bob'));
    expect(store.find(ana.id, 'ana')).toBe(ana);
    const left = bob.map(({ id }) => store.find(id, 'bob') !== undefined);
    expect(left).toEqual([false, false, false, true, true, true]);
  });

  it('are bounded in bytes and time', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const limits = { count: 9, bytes: 13_000, keepMs: 60_000 };
    const store = new JobStore(fakeSidecar({ image: Buffer.alloc(5000) }), limits);
    const jobs: Job[] = [];
    for (let i = 0; i < 3; i++) {
      jobs.push(store.start(options));
      await jobs[i]!.done;
      vi.setSystemTime(Date.now() + 1000);
    }
    const isThere = () => jobs.map(({ id }) => store.find(id, '') !== undefined);
    expect(isThere()).toEqual([false, true, true]);
    vi.setSystemTime(jobs[2]!.finished! + 59_999);
    expect(isThere()).toEqual([false, false, true]);
    vi.setSystemTime(jobs[2]!.finished! + 60_000);
    expect(isThere()).toEqual([false, false, false]);
  });
});

describe('a webhook', () => {
  const bytes = Buffer.from('a secret of 24 bytes, or'.padEnd(32, '.'));

  it.each([
    ['text', 'sixteen characters', Buffer.from('sixteen characters')],
    ['Standard Webhooks', `whsec_${bytes.toString('base64')}`, bytes],
  ])('tells of the end, signed with a secret of %s, and tries again', async (_, secret, signedWith) => {
    const sent: { url: string; body: string; headers: Record<string, string> }[] = [];
    const sidecar = fakeSidecar();
    const app = createApp({
      sidecar,
      jobs: new JobStore(sidecar),
      webhooks: {
        ...{ hosts: ['hooks.example'], secret, pauses: [1, 1] },
        post: async (url, body, headers) => {
          sent.push({ url: url.href, body, headers });
          if (sent.length === 1) throw new Error('gone');
          return sent.length === 2 ? 500 : 204;
        },
      },
    });
    const post = (url: string) =>
      app.request('/v1/jobs', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'x', webhook: { url } }),
      });
    const { id } = await (await post('https://hooks.example/told?x=1')).json();
    await expect.poll(() => sent.length, { timeout: 20_000 }).toBe(3);
    const { url, body, headers } = sent[2]!;
    expect(url).toBe('https://hooks.example/told?x=1');
    expect(JSON.parse(body)).toMatchObject({ type: 'job.succeeded', data: { id, status: 'succeeded' } });
    const text = `${id}.${headers['webhook-timestamp']}.${body}`;
    const signature = createHmac('sha256', signedWith).update(text).digest('base64');
    expect(headers).toMatchObject({ 'webhook-id': id, 'webhook-signature': `v1,${signature}` });
    // By the rules of addresses a backslash is a slash: this host is the right one, and what follows is its path.
    const odd = 'https://hooks.example\\@evil.example/x@';
    expect((await post(odd)).status).toBe(202);
    await expect.poll(() => sent.at(-1)!.url).toBe('https://hooks.example/@evil.example/x@');
    for (const refused of [
      ...['http://hooks.example/', 'ftp://hooks.example/', '//hooks.example/', 'hooks.example'],
      ...['https://evil.example/', 'https://hooks.example.evil/', 'https://a.hooks.example/'],
      ...[
        'https://user@hooks.example/',
        'https://user:word@hooks.example/',
        'https://:word@hooks.example/',
        'https://hooks.example@evil.example/',
      ],
      ...['https://127.0.0.1/', 'https://[::1]/', 'file:///etc/passwd'],
    ]) {
      const response = await post(refused);
      expect([refused, response.status, (await response.json()).error.param]).toEqual([
        ...[refused, 400, 'webhook.url'],
      ]);
    }
  });
});
