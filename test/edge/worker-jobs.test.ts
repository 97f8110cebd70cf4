import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { createApp } from '../../edge/app.ts';
import { SqlArchive } from '../../edge/jobs/sql-archive.ts';
import { JobStore } from '../../edge/jobs/store.ts';
import { CallerJobs, toCallerJobs } from '../../edge/worker-jobs.ts';
import { type FakeServer, serveFake } from '../support/fake-server.ts';
import { fakeSidecar } from '../support/fake-sidecar.ts';
import { partsTable } from '../support/parts-table.ts';

// The object of a caller's jobs, without workerd: contract/jobs.ts has it there.

const TIMEOUT = { timeout: 20_000 };
let sidecar = fakeSidecar();
let server: FakeServer;
beforeAll(async () => {
  server = await serveFake(() => sidecar);
});
afterAll(() => server.stop());
afterEach(() => {
  vi.useRealTimers();
});

describe('the alarm', () => {
  /** An object with a sidecar, and what is in its storage. */
  const object = (env: Record<string, string> = {}, sql = partsTable()) => {
    let alarm: number | null = null;
    const storage = {
      sql,
      getAlarm: async () => alarm,
      setAlarm: async (time: number) => {
        alarm = time;
      },
    };
    const jobs = new CallerJobs({ storage }, { SIDECAR_URL: server.webUrl, ...env });
    const call = async (method: string, path: string, body?: object) => {
      const headers = { 'content-type': 'application/json', 'x-latent-edge-caller': '{"name":"ana"}' };
      const init = { method, headers, ...(body && { body: JSON.stringify(body) }) };
      return (await jobs.fetch(new Request(`http://edge.example/v1/jobs${path}`, init))).json();
    };
    return {
      ...{ call, sql },
      next: () => alarm && alarm - Date.now(),
      /** As the platform does it: an alarm that goes off is no longer set. */
      async goesOff() {
        alarm = null;
        await jobs.alarm();
      },
    };
  };

  it('keeps an object awake while a job is under way, and deletes it when it has been kept', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    sidecar = fakeSidecar({ steps: 2, pauseAfter: 1 });
    const { call, goesOff, next, sql } = object({ JOBS_KEEP_SECONDS: '60' });
    await call('GET', '/none');
    expect(next()).toBeNull();
    const { id } = await call('POST', '', { prompt: 'x' });
    expect(next()).toBe(30_000);
    vi.setSystemTime(Date.now() + 10_000);
    await call('GET', `/${id}`);
    // One that is set is not put off.
    expect(next()).toBe(20_000);
    vi.setSystemTime(Date.now() + 20_000);
    await goesOff();
    expect(next()).toBe(30_000);
    sidecar.go();
    await expect.poll(async () => (await call('GET', `/${id}`)).status, TIMEOUT).toBe('succeeded');
    await goesOff();
    expect(next()).toBeGreaterThan(50_000);
    expect(next()).toBeLessThanOrEqual(60_000);
    expect(sql.rows.length).toBeGreaterThan(0);
    vi.setSystemTime(Date.now() + 60_000);
    await goesOff();
    expect(next()).toBeNull();
    expect(sql.rows).toEqual([]);
  });

  it('comes sooner for a job that begins while others are kept', async () => {
    sidecar = fakeSidecar();
    const { call, goesOff, next } = object();
    const { id } = await call('POST', '', { prompt: 'x' });
    await expect.poll(async () => (await call('GET', `/${id}`)).status, TIMEOUT).toBe('succeeded');
    await goesOff();
    expect(next()).toBeGreaterThan(3_500_000);
    sidecar = fakeSidecar({ pauseAfter: 0 });
    const other = await call('POST', '', { prompt: 'x' });
    expect(next()).toBeLessThanOrEqual(30_000);
    await call('DELETE', `/${other.id}`);
  });
});

it('a job that the database has no room for stays where it is, until that is gone', async () => {
  const log = vi.spyOn(console, 'error').mockImplementation(() => {});
  const sql = partsTable();
  const full = new SqlArchive({
    exec(query, ...bindings) {
      if (query.startsWith('INSERT') && bindings[1] === 2) throw new Error('database or disk is full');
      return sql.exec(query, ...bindings);
    },
  });
  const store = new JobStore(fakeSidecar(), { archive: full });
  const request = { prompt: 'x', seeds: [1] };
  const job = store.start({ owner: '', request, ignored: [], requestId: undefined, timeoutMs: 60_000 });
  await job.done;
  await expect.poll(() => log.mock.calls.length, TIMEOUT).toBe(1);
  expect(store.find(job.id, '')).toMatchObject({ status: 'succeeded', result: job.result });
  const [lost] = new SqlArchive(sql).all();
  expect(lost).toMatchObject({ id: job.id, status: 'failed', result: undefined });
  expect(lost!.error!.code).toBe('job_lost');
  // Once.
  const [still] = new SqlArchive(sql).all();
  expect([still!.finished, still!.error]).toEqual([lost!.finished, lost!.error]);
  log.mockRestore();
});

it('an end that has not been told is told by whoever opens the archive next, and then no more', async () => {
  const sql = partsTable();
  const told: string[] = [];
  const open = (post: () => Promise<number>, hosts = ['hooks.example']) => {
    const webhooks = {
      ...{ hosts, secret: 'sixteen characters' },
      post: async (url: URL) => {
        told.push(url.href);
        return post();
      },
    };
    return new JobStore(fakeSidecar(), { archive: new SqlArchive(sql), webhooks });
  };
  const webhook = 'https://hooks.example/x';
  const never = () => new Promise<number>(() => {});
  open(never).start({
    ...{ owner: '', ignored: [], requestId: undefined, timeoutMs: 60_000, webhook },
    request: { prompt: 'x', seeds: [1] },
  });
  await expect.poll(() => told, TIMEOUT).toEqual([webhook]);
  expect(open(never, ['other.example']).isBusy).toBe(false);
  const next = open(async () => 204);
  expect(next.isBusy).toBe(true);
  await expect.poll(() => next.isBusy, TIMEOUT).toBe(false);
  expect(told).toEqual([webhook, webhook]);
  expect(open(never).isBusy).toBe(false);
});

it('an object that is being restarted is a 503 that says when to try again', async () => {
  const log = vi.spyOn(console, 'error').mockImplementation(() => {});
  const reset = new Error('Durable Object reset because its code was updated.');
  const jobs = toCallerJobs({
    idFromName: (name) => ({ name }),
    get: () => ({ fetch: () => Promise.reject(reset) }),
  });
  const response = await createApp({ sidecar: fakeSidecar(), jobs }).request('/v1/jobs/x');
  expect([response.status, (await response.json()).error.code]).toEqual([503, 'jobs_unreachable']);
  expect(response.headers.get('retry-after')).toBe('1');
  expect(log).toHaveBeenCalledWith(reset);
  log.mockRestore();
});
