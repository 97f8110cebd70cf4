import { describe, expect, it } from 'vitest';
import { PATIENCE } from '../../sidecar/engine/batching/order.ts';
import { RequestQueue } from '../../sidecar/engine/queue.ts';
import { WeightsInUse } from '../../sidecar/engine/weights-in-use.ts';

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

const settled = () => new Promise((resolve) => setTimeout(resolve, 0));

describe('RequestQueue', () => {
  it('runs as many as it may, keeps the rest in order, and refuses what is more', async () => {
    const queue = new RequestQueue({ concurrency: 2, limit: 2 });
    const jobs = Array.from({ length: 4 }, work);
    const positions: number[] = [];
    const runs = jobs.map(({ run }) => queue.run(run, { onQueued: (position) => positions.push(position) }));
    await expect(queue.run(async () => {})).rejects.toMatchObject({
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

  it('lets interactive requests go first, and keeps places for them', async () => {
    const queue = new RequestQueue({ concurrency: 4, limit: 100 });
    const began: string[] = [];
    const jobs: ReturnType<typeof work>[] = [];
    const ask = (name: string, priority: 'interactive' | 'bulk') => {
      const job = work();
      jobs.push(job);
      const run = async () => {
        began.push(name);
        await job.run();
      };
      return queue.run(run, { priority });
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
    const queue = new RequestQueue({ concurrency: 1, limit: 100 });
    const began: string[] = [];
    const ask = (name: string, priority: 'interactive' | 'bulk') =>
      queue.run(async () => void began.push(name), { priority });
    const first = ask('first', 'interactive');
    const all = [ask('bulk', 'bulk'), ...Array.from({ length: 50 }, () => ask('interactive', 'interactive'))];
    await Promise.all([first, ...all]);
    expect(began.indexOf('bulk')).toBe(1 + PATIENCE.bulk);
  });

  it('has the first in line wait until what it needs is there, and the others behind it', async () => {
    const queue = new RequestQueue({ concurrency: 3, limit: 10 });
    const weights = new WeightsInUse(100);
    const began: string[] = [];
    const ask = (name: string, needed: Record<string, number>) => {
      const job = work();
      let giveBack: (() => void) | undefined;
      const list = Object.entries(needed).map(([name, bytes]) => ({ name, bytes }));
      const reserve = () => {
        giveBack = weights.take(list);
        return giveBack !== undefined;
      };
      const run = async () => {
        began.push(name);
        await job.run().finally(() => giveBack!());
      };
      return { ...job, done: queue.run(run, { reserve }) };
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

  it('estimates the wait by work that was finished, not by what was refused or cancelled', async () => {
    const queue = new RequestQueue({ concurrency: 1, limit: 0 });
    for (let i = 0; i < 20; i++) await queue.run(() => Promise.reject(new Error('no'))).catch(() => {});
    const job = work();
    const running = queue.run(job.run);
    // Half of the two seconds that are assumed before anything has been finished.
    await expect(queue.run(async () => {})).rejects.toMatchObject({ retryAfterMs: 1000 });
    job.finish();
    await running;
  });

  it('goes on after work that fails', async () => {
    const queue = new RequestQueue({ concurrency: 1, limit: 1 });
    const failing = queue.run(async () => {
      throw new Error('no');
    });
    const next = queue.run(async () => 'done');
    await expect(failing).rejects.toThrow('no');
    expect(await next).toBe('done');
  });

  it('lets go of who leaves while waiting, with the reason', async () => {
    const queue = new RequestQueue({ concurrency: 1, limit: 1 });
    const first = work();
    const running = queue.run(first.run);
    const controller = new AbortController();
    const never = work();
    const waiting = queue.run(never.run, { signal: controller.signal });
    controller.abort(new Error('left'));
    await expect(waiting).rejects.toThrow('left');
    expect(queue.queued).toBe(0);
    const other = queue.run(async () => 'in its place');
    first.finish();
    await running;
    expect(await other).toBe('in its place');
    expect(never.started()).toBe(false);
  });

  it('takes no request when closed or aborted, and no place for it', async () => {
    const queue = new RequestQueue({ concurrency: 1, limit: 0 });
    await expect(queue.run(async () => {}, { signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow(
      'gone',
    );
    expect(await queue.run(async () => 1)).toBe(1);
    queue.close();
    await expect(queue.run(async () => {})).rejects.toMatchObject({ code: 'shutting_down' });
  });
});
