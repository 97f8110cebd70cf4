import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { createApp } from '../../edge/app.ts';
import { SqlArchive } from '../../edge/jobs/sql-archive.ts';
import { type JobArchive, JobStore } from '../../edge/jobs/store.ts';
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
  const object = (env: Record<string, string> = {}) => {
    let alarm: number | null = null;
    const table = partsTable();
    const storage = {
      ...table,
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
      ...{ call, table },
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
    const { call, goesOff, next, table } = object({ JOBS_KEEP_SECONDS: '60' });
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
    expect(table.rows.length).toBeGreaterThan(0);
    vi.setSystemTime(Date.now() + 60_000);
    await goesOff();
    expect(next()).toBeNull();
    expect(table.rows).toEqual([]);
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

describe('a database that is full', () => {
  const options = { owner: '', ignored: [], requestId: undefined, timeoutMs: 60_000 };
  const request = { prompt: 'x', seeds: [1] };
  /** An archive that does not take what is refused. */
  const full = (table: ReturnType<typeof partsTable>, isRefused: (part: number) => boolean) =>
    new SqlArchive({
      ...table,
      sql: {
        exec(query, ...bindings) {
          if (query.startsWith('INSERT') && isRefused(bindings[1] as number))
            throw new Error('database or disk is full');
          return table.sql.exec(query, ...bindings);
        },
      },
    });

  it('leaves a job that it has no room for where it is, until that is gone', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => {});
    const table = partsTable();
    const store = new JobStore(fakeSidecar(), { archive: full(table, (part) => part === 2) });
    const job = store.start({ ...options, request });
    await job.done;
    await expect.poll(() => log.mock.calls.length, TIMEOUT).toBe(1);
    expect(store.find(job.id, '')).toMatchObject({ status: 'succeeded', result: job.result });
    // Nothing of what it made.
    expect(table.rows.map(({ part }) => part)).toEqual([0]);
    const [lost] = new SqlArchive(table).all();
    expect(lost).toMatchObject({ id: job.id, status: 'failed', result: undefined });
    expect(lost!.error!.code).toBe('job_lost');
    // Once.
    const [still] = new SqlArchive(table).all();
    expect([still!.finished, still!.error]).toEqual([lost!.finished, lost!.error]);
    log.mockRestore();
  });

  it('is opened all the same: what was under way is lost, and what is not whole is not there', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => {});
    const table = partsTable();
    const store = new JobStore(fakeSidecar({ pauseAfter: 0 }), { archive: new SqlArchive(table) });
    const job = store.start({ ...options, request });
    table.sql.exec('INSERT', 'torn', 2, 0, new Uint8Array(9));
    table.sql.exec('INSERT', 'half', 0, 0, new TextEncoder().encode('{"id": "ha'));
    for (let time = 0; time < 2; time++) {
      const jobs = full(table, () => true).all();
      expect(jobs).toMatchObject([{ id: job.id, status: 'failed', error: { code: 'job_lost' } }]);
    }
    expect(log).toHaveBeenCalledTimes(2);
    expect(table.rows.map(({ id }) => id)).toEqual([job.id]);
    job.cancel();
    await job.done;
    log.mockRestore();
  });
});

it('a job that cannot be deleted is gone all the same, and is deleted by whoever opens the archive next', async () => {
  const log = vi.spyOn(console, 'error').mockImplementation(() => {});
  const table = partsTable();
  const archive = new SqlArchive(table);
  const failing: JobArchive = {
    all: () => [],
    put: (job) => archive.put(job),
    told: () => {},
    delete: () => {
      throw new Error('no');
    },
  };
  const limits = { count: 9, bytes: 0, keepMs: 60_000 };
  const store = new JobStore(fakeSidecar(), { archive: failing, limits });
  const request = { prompt: 'x', seeds: [1] };
  const job = store.start({ owner: '', request, ignored: [], requestId: undefined, timeoutMs: 60_000 });
  await job.done;
  await expect.poll(() => log.mock.calls.length, TIMEOUT).toBe(1);
  expect(store.find(job.id, '')).toBeUndefined();
  expect(table.rows.length).toBeGreaterThan(0);
  new JobStore(fakeSidecar(), { archive, limits }).tidy();
  expect(table.rows).toEqual([]);
  log.mockRestore();
});

it('an end that has not been told is told by whoever opens the archive next, and then no more', async () => {
  const table = partsTable();
  const told: string[] = [];
  const open = (post: () => Promise<number>, hosts = ['hooks.example']) => {
    const webhooks = {
      ...{ hosts, secret: 'sixteen characters' },
      post: async (url: URL) => {
        told.push(url.href);
        return post();
      },
    };
    return new JobStore(fakeSidecar(), { archive: new SqlArchive(table), webhooks });
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
