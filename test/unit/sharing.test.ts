import { describe, expect, it } from 'vitest';
import type { GenerateOptions, GenerateResult } from '../../sidecar/engine/engine.ts';
import { errors } from '../../sidecar/errors.ts';
import { SharedRuns } from '../../sidecar/sharing/runs.ts';

/** An engine whose runs end when they are told to. */
function engine() {
  const runs: { options: GenerateOptions; end: () => void; fail: (error: Error) => void }[] = [];
  return {
    runs,
    generate: (_: object, options: GenerateOptions = {}) =>
      new Promise<GenerateResult>((resolve, reject) => {
        const result = { images: [{ file: Buffer.alloc(10) }] } as unknown as GenerateResult;
        runs.push({ options, end: () => resolve(result), fail: reject });
        options.signal?.addEventListener('abort', () => reject(options.signal!.reason));
        options.onQueued?.(0);
      }),
  };
}

const seeded = { seeds: [1] };
const asked = (text: string, idempotencyKey?: string) => ({
  bytes: () => new TextEncoder().encode(text),
  idempotencyKey,
});
const settled = () => new Promise((resolve) => setTimeout(resolve));

describe('the same at once', () => {
  it('is run once, for all who wait; progress goes to each', async () => {
    const fake = engine();
    const runs = new SharedRuns(fake);
    const steps: string[] = [];
    const caller = (name: string) =>
      runs.generate(seeded, { ...asked('a'), onProgress: ({ step }) => steps.push(`${name}${step}`) });
    const first = caller('x');
    await settled();
    const second = caller('y');
    fake.runs[0]!.options.onProgress!({ step: 1, total: 2, stepMs: 1, previews: [] });
    fake.runs[0]!.end();
    expect(await first).toBe(await second);
    expect([fake.runs.length, steps]).toEqual([1, ['x1', 'y1']]);
    runs.generate(seeded, asked('a'));
    await settled();
    expect(fake.runs).toHaveLength(2);
  });

  it('is not run once without seeds, or of another request', async () => {
    const fake = engine();
    const runs = new SharedRuns(fake);
    for (const text of ['a', 'b']) runs.generate(seeded, asked(text));
    for (const seeds of [[], []]) runs.generate({ seeds }, asked('c'));
    await settled();
    expect(fake.runs).toHaveLength(4);
  });

  it('fails for all, and is tried again', async () => {
    const fake = engine();
    const runs = new SharedRuns(fake);
    const both = [runs.generate(seeded, asked('a', 'k')), runs.generate(seeded, asked('a', 'k'))];
    await settled();
    fake.runs[0]!.fail(errors.shuttingDown());
    await Promise.all(both.map((each) => expect(each).rejects.toMatchObject({ code: 'shutting_down' })));
    runs.generate(seeded, asked('a', 'k'));
    await settled();
    expect(fake.runs).toHaveLength(2);
  });
});

describe('leaving', () => {
  const leave = (runs: SharedRuns, key?: string) => {
    const controller = new AbortController();
    const result = runs.generate(seeded, { ...asked('a', key), signal: controller.signal });
    result.catch(() => {});
    return { result, leave: () => controller.abort(errors.cancelled()) };
  };

  it('ends the run with the last one, at once', async () => {
    const fake = engine();
    const runs = new SharedRuns(fake);
    const [first, second] = [leave(runs), leave(runs)];
    await settled();
    first.leave();
    await expect(first.result).rejects.toMatchObject({ code: 'cancelled' });
    expect(fake.runs[0]!.options.signal!.aborted).toBe(false);
    second.leave();
    expect(fake.runs[0]!.options.signal!.aborted).toBe(true);
    // Who comes while it ends is not told that it was cancelled.
    const third = leave(runs);
    await settled();
    fake.runs[1]!.end();
    await third.result;
    expect(fake.runs).toHaveLength(2);
  });

  it('with a key, waits for who comes back', async () => {
    const fake = engine();
    const runs = new SharedRuns(fake, { lingerMs: 30 });
    const first = leave(runs, 'k');
    await settled();
    first.leave();
    const again = leave(runs, 'k');
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(fake.runs[0]!.options.signal!.aborted).toBe(false);
    again.leave();
    await expect.poll(() => fake.runs[0]!.options.signal!.aborted).toBe(true);
    expect(fake.runs).toHaveLength(1);
  });

  it('does not hold up a stop', async () => {
    const fake = engine();
    const stopping = new AbortController();
    const runs = new SharedRuns(fake, { stopping: stopping.signal });
    const first = leave(runs, 'k');
    await settled();
    first.leave();
    stopping.abort(errors.shuttingDown());
    expect(fake.runs[0]!.options.signal!.aborted).toBe(true);
  });
});

describe('an idempotency key', () => {
  it('gives the same result again, without seeds too', async () => {
    const fake = engine();
    const runs = new SharedRuns(fake);
    const first = runs.generate({}, asked('a', 'k'));
    await settled();
    fake.runs[0]!.end();
    expect(await runs.generate({}, asked('a', 'k'))).toBe(await first);
    expect(fake.runs).toHaveLength(1);
  });

  it('stands for one request', async () => {
    const fake = engine();
    const runs = new SharedRuns(fake);
    const first = runs.generate(seeded, asked('a', 'k'));
    await expect(runs.generate(seeded, asked('b', 'k'))).rejects.toMatchObject({
      code: 'idempotency_conflict',
    });
    await settled();
    fake.runs[0]!.end();
    await first;
    await expect(runs.generate(seeded, asked('b', 'k'))).rejects.toMatchObject({
      code: 'idempotency_conflict',
    });
  });
});
