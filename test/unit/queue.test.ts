import { describe, expect, it } from 'vitest';
import { heldBytes } from '../../sidecar/engine/admission/held-bytes.ts';
import { type Admission, RequestQueue, type Seat } from '../../sidecar/engine/admission/queue.ts';
import { WeightsInUse } from '../../sidecar/engine/admission/weights-in-use.ts';
import { PATIENCE } from '../../sidecar/engine/batching/order.ts';
import { errors, toServiceError } from '../../sidecar/errors.ts';

/** Work that ends when it is told to. */
function work() {
  let finish!: () => void;
  let started = false;
  const until = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const run = async () => {
    started = true;
    await until;
  };
  return { run, finish, started: () => started };
}

interface Asked extends Partial<Omit<Admission<Seat>, 'reserve'>> {
  /** What it waits for, where there is something. */
  reserve?: (blocked: Set<unknown>) => Seat | undefined;
}

interface QueueOptions {
  places: number;
  limit: number;
  devices?: number;
  bytes?: number;
  onWaited?: (ms: number, refusal?: unknown) => void;
}

/** A queue before one device, of requests that take two seconds and anything that is there. */
function queueOf({ places, limit, devices = 1, ...rest }: QueueOptions) {
  const queue = new RequestQueue<Seat>({ places: () => places, devices: () => devices, limit, ...rest });
  const seat = (workMs: number): Seat => ({ leftMs: workMs, leave: () => {} });
  const run = <T>(work: () => Promise<T>, { workMs = 2000, ...asked }: Asked = {}) =>
    queue.run(work, { workMs, reserve: () => seat(workMs), ...asked });
  return { queue, run };
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 0));

it('a request holds its pictures and tensors, wherever they stand', () => {
  const initImage = Buffer.alloc(5);
  const control = [{ model: 'canny', image: new Uint8Array(3) }, { image: undefined }];
  expect(heldBytes({ prompt: 'x', initImage, control, mask: null, seeds: [1] })).toBe(8);
  expect(heldBytes({ latents: { shape: [2], data: new Float32Array(2) } })).toBe(8);
});

describe('RequestQueue', () => {
  it('tells of each wait once, what it ended in too', async () => {
    const told: unknown[] = [];
    const onWaited = (ms: number, refusal?: unknown) => {
      expect(ms).toBeGreaterThanOrEqual(0);
      told.push(refusal === undefined ? 'begun' : toServiceError(refusal).code);
    };
    const { queue, run } = queueOf({ places: 1, limit: 2, onWaited });
    const first = work();
    const running = run(first.run);
    const leaving = new AbortController();
    const waiting = run(work().run, { signal: leaving.signal });
    const failing = run(() => Promise.reject(new Error('its own')));
    await expect(run(work().run)).rejects.toMatchObject({ code: 'queue_full' });
    await expect(run(work().run, { deadline: Date.now() })).rejects.toMatchObject({
      code: 'deadline_exceeded',
    });
    leaving.abort(errors.cancelled());
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    expect(told).toEqual(['begun', 'queue_full', 'deadline_exceeded', 'cancelled']);
    const failed = expect(failing).rejects.toThrow('its own');
    first.finish();
    await running;
    await failed;
    queue.close();
    await expect(run(work().run)).rejects.toMatchObject({ code: 'shutting_down' });
    expect(told.slice(4)).toEqual(['begun', 'shutting_down']);
  });

  it('runs as many as it may, keeps the rest in order, and refuses what is more', async () => {
    const { queue, run } = queueOf({ places: 2, limit: 2 });
    const jobs = Array.from({ length: 4 }, work);
    const positions: number[] = [];
    const runs = jobs.map((job) => run(job.run, { onQueued: (position) => positions.push(position) }));
    await expect(run(async () => {})).rejects.toMatchObject({
      code: 'queue_full',
      retryAfterMs: expect.any(Number),
    });
    expect(positions).toEqual([0, 1, 2, 3]);
    expect([queue.running, queue.queued]).toEqual([2, 2]);
    jobs[1]!.finish();
    await settled();
    expect(jobs.map(({ started }) => started())).toEqual([true, true, true, false]);
    for (const { finish } of jobs) finish();
    await Promise.all(runs);
    await queue.idle();
    expect([queue.running, queue.queued]).toEqual([0, 0]);
  });

  it('bounds what those that wait hold', async () => {
    const { queue, run } = queueOf({ places: 1, limit: 100, bytes: 2 ** 20 });
    const jobs = Array.from({ length: 4 }, work);
    // What runs does not count, nor what holds nothing.
    const runs = [2, 0.5, 0, 0.5].map((share, i) => run(jobs[i]!.run, { bytes: share * 2 ** 20 }));
    await expect(run(async () => {}, { bytes: 2 ** 20 })).rejects.toMatchObject({
      code: 'queue_full',
      retryAfterMs: expect.any(Number),
      message: expect.stringContaining(
        'this request has 1.0 MiB of pictures and tensors, with those that wait 2.0 MiB, and there is room for 1.0 MiB',
      ),
    });
    expect([queue.running, queue.queued]).toEqual([1, 3]);
    for (const { finish } of jobs) finish();
    await Promise.all(runs);
    await run(async () => {}, { bytes: 1000 });
  });

  it('lets interactive requests go first, and keeps places for them', async () => {
    const { run } = queueOf({ places: 4, limit: 100 });
    const began: string[] = [];
    const jobs: ReturnType<typeof work>[] = [];
    const ask = (name: string, priority: 'interactive' | 'bulk') => {
      const job = work();
      jobs.push(job);
      const noted = async () => {
        began.push(name);
        await job.run();
      };
      return run(noted, { priority });
    };
    const all = [1, 2, 3, 4, 5].map((i) => ask(`bulk ${i}`, 'bulk'));
    await settled();
    expect(began).toEqual(['bulk 1', 'bulk 2', 'bulk 3']);
    all.push(...[1, 2].map((i) => ask(`interactive ${i}`, 'interactive')));
    await settled();
    expect(began.at(-1)).toBe('interactive 1');
    jobs[0]!.finish();
    await settled();
    expect(began.at(-1)).toBe('interactive 2');
    for (const job of jobs) job.finish();
    await Promise.all(all);
    expect(began.slice(-2)).toEqual(['bulk 4', 'bulk 5']);
  });

  it('does not let bulk requests wait for ever', async () => {
    const { run } = queueOf({ places: 1, limit: 100 });
    const began: string[] = [];
    const ask = (name: string, priority: 'interactive' | 'bulk') =>
      run(async () => void began.push(name), { priority });
    const first = ask('first', 'interactive');
    const all = [ask('bulk', 'bulk'), ...Array.from({ length: 50 }, () => ask('interactive', 'interactive'))];
    await Promise.all([first, ...all]);
    expect(began.indexOf('bulk')).toBe(1 + PATIENCE.bulk);
  });

  it('lets those go first that are pressed for time, by their deadlines, but not for ever', async () => {
    const { run } = queueOf({ places: 1, limit: 100 });
    const began: string[] = [];
    const job = work();
    const running = run(job.run);
    const ask = (name: string, inMs?: number, more: Asked = {}) =>
      run(async () => void began.push(name), { deadline: inMs && Date.now() + inMs, ...more });
    // Each takes two seconds, and may take four.
    const all = [
      ask('job', 7000, { priority: 'bulk' }),
      ask('none'),
      ask('far', 3_600_000),
      ask('later', 7000),
      ask('sooner', 6000),
    ];
    job.finish();
    await Promise.all([running, ...all]);
    expect(began).toEqual(['sooner', 'later', 'none', 'far', 'job']);

    const again = work();
    const first = run(again.run);
    const patient = ask('patient');
    const others = Array.from({ length: 20 }, () => ask('pressed', 3500, { workMs: 100 }));
    again.finish();
    await Promise.all([first, patient, ...others]);
    expect(began.slice(5).indexOf('patient')).toBe(PATIENCE.interactive);
  });

  it('has the first in line wait until what it needs is there, and the others behind it', async () => {
    const { queue, run } = queueOf({ places: 3, limit: 10 });
    const weights = new WeightsInUse(100);
    const began: string[] = [];
    const ask = (name: string, needed: Record<string, number>) => {
      const job = work();
      const list = Object.entries(needed).map(([name, bytes]) => ({ name, bytes }));
      const reserve = (blocked: Set<unknown>): Seat | undefined => {
        const leave = blocked.size > 0 ? undefined : weights.take(list);
        if (!leave) blocked.add('the device');
        return leave && { leftMs: 0, leave };
      };
      const noted = async () => {
        began.push(name);
        await job.run();
      };
      return { ...job, done: run(noted, { reserve }) };
    };
    const [one, same, large, behind] = [
      ask('one', { a: 60 }),
      ask('same', { a: 60 }),
      ask('large', { b: 200 }),
      ask('behind', { a: 60, c: 10 }),
    ];
    await settled();
    expect(began).toEqual(['one', 'same']);
    one.finish();
    await settled();
    expect(began).toEqual(['one', 'same']);
    same.finish();
    await settled();
    // Alone, what is over the budget runs too.
    expect(began).toEqual(['one', 'same', 'large']);
    large.finish();
    await settled();
    expect(began.at(-1)).toBe('behind');
    behind.finish();
    await Promise.all([one, same, large, behind].map(({ done }) => done));
    await queue.idle();
  });

  it('lets a request begin on a device that nobody before it waits for', async () => {
    const { queue, run } = queueOf({ places: 4, limit: 10, devices: 2 });
    const busy = new Set(['a', 'b']);
    const began: string[] = [];
    const ask = (name: string, device: string) =>
      run(async () => {}, {
        reserve: (blocked) => {
          const isFree = !busy.has(device) && !blocked.has(device);
          if (isFree) began.push(name);
          else blocked.add(device);
          return isFree ? { leftMs: 0, leave: () => {} } : undefined;
        },
      });
    const all = [ask('first', 'a'), ask('second', 'a'), ask('third', 'b')];
    busy.delete('b');
    await ask('fourth', 'b');
    expect(began).toEqual(['third', 'fourth']);
    busy.delete('a');
    await ask('fifth', 'a');
    await Promise.all(all);
    expect(began).toEqual(['third', 'fourth', 'first', 'second', 'fifth']);
    await queue.idle();
  });

  it('hints when to try again by the work of those that run and wait', async () => {
    const { run } = queueOf({ places: 2, limit: 2, devices: 2 });
    const jobs = [8000, 6000, 3000, 40_000].map((workMs) => ({ ...work(), workMs }));
    const runs = jobs.map(({ run: job, workMs }) => run(job, { workMs }));
    // Of the two that wait one will have begun when the quickest of all has ended, two devices working at it.
    await expect(run(async () => {})).rejects.toMatchObject({ code: 'queue_full', retryAfterMs: 1500 });
    for (const { finish } of jobs) finish();
    await Promise.all(runs);
  });

  it('refuses a deadline that cannot be met, and says what it would take', async () => {
    const { queue, run } = queueOf({ places: 1, limit: 5 });
    const inMs = (ms: number) => Date.now() + ms;
    await expect(run(async () => {}, { workMs: 60_000, deadline: inMs(10_000) })).rejects.toMatchObject({
      code: 'deadline_exceeded',
      message: expect.stringMatching(/it is in (9\.\d|10) s and the request takes about 60 s$/),
      retryAfterMs: undefined,
    });
    const job = work();
    const running = run(job.run, { workMs: 100_000 });
    await expect(run(async () => {}, { workMs: 1000, deadline: inMs(10_000) })).rejects.toMatchObject({
      message: expect.stringMatching(/the request takes about 1 s, 100 s from now$/),
      retryAfterMs: 100_000,
    });
    expect(queue.queued).toBe(0);
    const patient = run(async () => 'done', { workMs: 1000, deadline: inMs(100_000) });
    job.finish();
    await running;
    expect(await patient).toBe('done');
  });

  it('does work once more where it may, before all that wait, though none more may wait', async () => {
    const { queue, run } = queueOf({ places: 1, limit: 1 });
    const began: string[] = [];
    let idle = false;
    const failing = async () => {
      began.push('failing');
      if (began.length === 1) throw new Error('lost');
      return 'done';
    };
    const first = run(failing, { onFailure: (error) => (error as Error).message === 'lost' });
    const second = run(async () => void began.push('second'));
    void queue.idle().then(() => {
      idle = true;
    });
    // Nor does it matter that no new ones are taken any more.
    queue.close();
    expect(await first).toBe('done');
    expect(idle).toBe(false);
    await second;
    expect(began).toEqual(['failing', 'failing', 'second']);
    await queue.idle();
  });

  it('lets go of all that wait when there is nothing left to run on', async () => {
    const { queue, run } = queueOf({ places: 1, limit: 5 });
    const job = work();
    const running = run(job.run);
    const waiting = [run(async () => {}), run(async () => {})];
    queue.fail(new Error('no device'));
    const all = [...waiting, run(async () => {})];
    await Promise.all(all.map((one) => expect(one).rejects.toThrow('no device')));
    job.finish();
    await running;
    await queue.idle();
  });

  it('lets go of one for which there is nothing left, and of no other', async () => {
    const { run } = queueOf({ places: 1, limit: 5 });
    const job = work();
    const running = run(job.run);
    const waiting = run(async () => {}, {
      reserve: () => {
        throw new Error('fits nowhere');
      },
    });
    const behind = run(async () => 'done');
    job.finish();
    await expect(waiting).rejects.toThrow('fits nowhere');
    await running;
    expect(await behind).toBe('done');
  });

  it('goes on after work that fails', async () => {
    const { run } = queueOf({ places: 1, limit: 1 });
    const failing = run(async () => {
      throw new Error('no');
    });
    const next = run(async () => 'done');
    await expect(failing).rejects.toThrow('no');
    expect(await next).toBe('done');
  });

  it('lets go of who leaves while waiting, with the reason', async () => {
    const { queue, run } = queueOf({ places: 1, limit: 1 });
    const first = work();
    const running = run(first.run);
    const controller = new AbortController();
    const never = work();
    const waiting = run(never.run, { signal: controller.signal });
    controller.abort(new Error('left'));
    await expect(waiting).rejects.toThrow('left');
    expect(queue.queued).toBe(0);
    const other = run(async () => 'in its place');
    first.finish();
    await running;
    expect(await other).toBe('in its place');
    expect(never.started()).toBe(false);
  });

  it('takes no request when closed or aborted, and no place for it', async () => {
    const { queue, run } = queueOf({ places: 1, limit: 0 });
    await expect(run(async () => {}, { signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow(
      'gone',
    );
    expect(await run(async () => 1)).toBe(1);
    queue.close();
    await expect(run(async () => {})).rejects.toMatchObject({ code: 'shutting_down' });
  });
});
