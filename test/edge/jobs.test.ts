import { createHmac } from 'node:crypto';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createApp } from '../../edge/app.ts';
import type { LiveJob } from '../../edge/jobs/job.ts';
import { JobStore } from '../../edge/jobs/store.ts';
import type { WebhookOptions } from '../../edge/jobs/webhook.ts';
import { type SidecarClient, SidecarError } from '../../edge/sidecar/client.ts';
import { fakeSidecar } from '../support/fake-sidecar.ts';

afterEach(() => {
  vi.useRealTimers();
});

// By HTTP: contract/jobs.ts.

describe('jobs together', () => {
  const request = { prompt: 'x', seeds: [1] };
  const options = { owner: '', request, ignored: [], requestId: undefined, timeoutMs: 60_000 };

  it('are bounded in number: finished ones make room, running ones do not', async () => {
    const sidecar = fakeSidecar({ steps: 1000, stepMs: 5 });
    const store = new JobStore(sidecar, { limits: { count: 2, bytes: 1e9, keepMs: 60_000 } });
    const [first] = [store.start(options), store.start(options)];
    expect(() => store.start(options)).toThrow('There are 2 jobs under way');
    first!.cancel();
    const third = store.start(options);
    expect(store.find(first!.id, '')).toBeUndefined();
    expect(store.find(third.id, '')).toBe(third);
  });

  it('are bounded in bytes of the pictures that they begin from', async () => {
    const sidecar = fakeSidecar({ pauseAfter: 0 });
    const store = new JobStore(sidecar, {
      limits: { count: 9, bytes: 1e9, requestBytes: 999, keepMs: 60_000 },
    });
    const start = (picture: number, hint: number) => {
      const control = [{ model: 'canny', image: Buffer.alloc(hint) }];
      return store.start({ ...options, request: { ...request, initImage: Buffer.alloc(picture), control } });
    };
    // One alone is as large as a body may be.
    const first = start(600, 600);
    const refused =
      'The pictures of jobs under way have 1200 bytes, and with 9 more they would have over 999';
    expect(() => start(9, 0)).toThrow(refused);
    first.cancel();
    const next = [start(499, 0), start(0, 500), start(0, 0)];
    expect(() => start(0, 1)).toThrow('have 999 bytes');
    for (const job of next) job.cancel();
    await Promise.all([first, ...next].map(({ done }) => done));
  });

  it.each([
    ['number', { count: 4, bytes: 1e9, keepMs: 60_000 }],
    ['bytes', { count: 99, bytes: 26_000, keepMs: 60_000 }],
  ])("push out no other caller's while their own are more: in %s", async (_, limits) => {
    const store = new JobStore(fakeSidecar({ image: Buffer.alloc(5000) }), { limits });
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
    const store = new JobStore(fakeSidecar({ image: Buffer.alloc(5000) }), { limits });
    const jobs: LiveJob[] = [];
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

describe('a job that the queue has no room for', () => {
  const request = { prompt: 'x', seeds: [1] };
  const full = (retryAfterMs: number) => {
    const error = new SidecarError('Full', { code: 'queue_full', httpStatus: 429, retryAfterMs });
    return fakeSidecar({ fail: { error } });
  };
  const start = (sidecar: SidecarClient, timeoutMs: number, random: () => number = () => 0) =>
    new JobStore(sidecar, { random }).start({
      ...{ owner: '', request, ignored: [], requestId: undefined, timeoutMs },
    });

  it('is tried again with the time that is left, and fails when none is', async () => {
    vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] });
    const sidecar = full(1000);
    const job = start(sidecar, 3500);
    await vi.advanceTimersByTimeAsync(3500);
    await job.done;
    expect(job).toMatchObject({ status: 'failed', error: { code: 'queue_full', status: 429 } });
    expect(sidecar.options.map(({ timeoutMs }) => timeoutMs)).toEqual([3500, 2500, 1500, 500]);
  });

  it('comes back up to half as much later than it was told to, no two at the same time', async () => {
    vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] });
    const began = Date.now();
    const sidecar = full(1000);
    const tries: number[] = [];
    const { generate } = sidecar;
    sidecar.generate = (...args) => {
      tries.push(Date.now() - began);
      return generate(...args);
    };
    const drawn = [0, 0.5, 0.25, 0.75];
    const store = new JobStore(sidecar, { random: () => drawn.shift() ?? 0 });
    const options = { owner: '', request, ignored: [], requestId: undefined, timeoutMs: 2000 };
    const jobs = [0, 1, 2, 3].map(() => store.start(options));
    await vi.advanceTimersByTimeAsync(2000);
    await Promise.all(jobs.map(({ done }) => done));
    expect(tries).toEqual([0, 0, 0, 0, 1000, 1125, 1250, 1375]);
  });

  it('comes back within its time where that is short', async () => {
    vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] });
    const sidecar = full(1000);
    const job = start(sidecar, 1200, () => 0.5);
    await vi.advanceTimersByTimeAsync(1200);
    await job.done;
    expect(sidecar.options.map(({ timeoutMs }) => timeoutMs)).toEqual([1200, 150]);
  });

  it('is not waited for where the hint is beyond its time', async () => {
    const sidecar = full(60_000);
    const job = start(sidecar, 50_000);
    await job.done;
    expect([job.error!.code, sidecar.requests.length]).toEqual(['queue_full', 1]);
  });

  it('can be cancelled while it waits', async () => {
    const sidecar = full(60_000);
    const job = start(sidecar, 600_000);
    await expect.poll(() => sidecar.requests.length).toBe(1);
    job.cancel();
    await job.done;
    expect([job.status, sidecar.requests.length]).toEqual(['cancelled', 1]);
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
    const webhooks: WebhookOptions = {
      ...{ hosts: ['hooks.example'], secret, pauses: [1, 1] },
      post: async (url, body, headers) => {
        sent.push({ url: url.href, body, headers });
        if (sent.length === 1) throw new Error('gone');
        return sent.length === 2 ? 500 : 204;
      },
    };
    const app = createApp({ sidecar, jobs: new JobStore(sidecar, { webhooks }) });
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
