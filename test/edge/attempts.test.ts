import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { createApp } from '../../edge/app.ts';
import { JobStore } from '../../edge/jobs/store.ts';
import { firstToBegin } from '../../edge/sidecar/attempts.ts';
import { type CallOptions, type GenerateEvent, SidecarError } from '../../edge/sidecar/client.ts';
import { sidecarPool } from '../../edge/sidecar/pool.ts';
import { fakeSidecar } from '../support/fake-sidecar.ts';

// Several sidecars, one of which is slow, or gone.

const asked = { prompt: 'x', seeds: [1], steps: 3 };
const full = (retryAfterMs: number) =>
  new SidecarError('Full', { code: 'queue_full', httpStatus: 429, retryAfterMs });
const gone = new SidecarError('Gone', { code: 'sidecar_unreachable', httpStatus: 503 });

async function events(stream: AsyncIterable<{ event?: string }>): Promise<string[]> {
  const all = [];
  for await (const { event } of stream) all.push(event!);
  return all;
}
const whole = ['queued', 'progress', 'progress', 'progress', 'result'];

it('another is asked when one dies before its first step, and Queued is told once', async () => {
  const fakes = [fakeSidecar({ fail: { error: gone, afterSteps: 0 } }), fakeSidecar()];
  expect(await events(sidecarPool(fakes).generate(asked))).toEqual(whole);
  expect(fakes.map(({ requests }) => requests.length)).toEqual([1, 1]);
});

it.each(['invalid_argument', 'message_too_large', 'out_of_memory', 'deadline_exceeded'])(
  'no other is asked after %s, which would do no good',
  async (code) => {
    const error = new SidecarError('Wrong', { code, httpStatus: 400 });
    const fakes = [fakeSidecar({ fail: { error } }), fakeSidecar()];
    await expect(events(sidecarPool(fakes).generate(asked))).rejects.toBe(error);
    await expect(sidecarPool(fakes).preprocess({})).rejects.toBe(error);
    expect(fakes[1]!.requests).toEqual([]);
    expect(fakes[1]!.preprocessed).toEqual([]);
  },
);

describe('where there is no room', () => {
  it('another is asked, and nothing is done twice', async () => {
    const fakes = [fakeSidecar({ fail: { error: full(500) } }), fakeSidecar()];
    const pool = sidecarPool(fakes, { attempts: 3 });
    expect(await events(pool.generate(asked))).toEqual(whole);
    expect(fakes.map(({ requests, steps }) => [requests.length, steps])).toEqual([
      [1, 0],
      [1, 3],
    ]);
    for (let i = 0; i < 2; i++) await pool.preprocess({ preprocessor: 'canny' });
    expect(fakes[1]!.preprocessed).toHaveLength(2);
  });

  it('at none of them, each is asked once, and the least time to wait is told', async () => {
    const hints = [9000, 500, 2000];
    const fakes = hints.map((hint) => fakeSidecar({ fail: { error: full(hint) } }));
    const app = createApp({ sidecar: sidecarPool(fakes, { attempts: 4 }) });
    for (const path of ['/v1/images/generations', '/sdapi/v1/txt2img']) {
      const response = await app.request(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'x' }),
      });
      expect([response.status, response.headers.get('retry-after-ms')]).toEqual([429, '500']);
    }
    expect(fakes.map(({ requests }) => requests.length)).toEqual([2, 2, 2]);
    await expect(sidecarPool(fakes).preprocess({})).rejects.toMatchObject({ retryAfterMs: 500 });
  });

  it.each([0, 1])('and another is gone, to wait is what is told: %i first', async (place) => {
    const fails = [full(700), gone].map((error) => fakeSidecar({ fail: { error } }));
    const fakes = place === 0 ? fails : fails.toReversed();
    await expect(events(sidecarPool(fakes).generate(asked))).rejects.toMatchObject({ retryAfterMs: 700 });
    await expect(sidecarPool(fakes).preprocess({})).rejects.toMatchObject({ code: 'queue_full' });
  });

  it('what fails after its first step is no matter of room', async () => {
    const fakes = [
      fakeSidecar({ fail: { error: full(700) } }),
      fakeSidecar({ fail: { error: gone, afterSteps: 1 } }),
    ];
    await expect(events(sidecarPool(fakes).generate(asked))).rejects.toBe(gone);
  });

  it.each([
    ['with a key, for as long as its result is kept there', { idempotencyKey: '00000000'.repeat(8) }, 3],
    ['with a seed, only while it runs there', { isSeeded: true }, 1],
  ])('what began elsewhere for that goes there again: %s', async (_, options, there) => {
    vi.useFakeTimers({ toFake: ['performance'] });
    onTestFinished(() => void vi.useRealTimers());
    const fakes = [fakeSidecar(), fakeSidecar()];
    const pool = sidecarPool(fakes);
    const home = await homeOf(options);
    const [own, other] = [fakes[home]!, fakes[1 - home]!];
    const { generate } = own;
    own.generate = () => fakeSidecar({ fail: { error: full(100) } }).generate(asked);
    await events(pool.generate(asked, options));
    own.generate = generate;
    for (const _ of [1, 2]) {
      vi.advanceTimersByTime(9 * 60_000);
      await events(pool.generate(asked, options));
    }
    expect(other.requests).toHaveLength(there);
    vi.advanceTimersByTime(11 * 60_000);
    await events(pool.generate(asked, options));
    expect([own, other].map(({ requests }) => requests.length)).toEqual([4 - there, there]);
  });
});

/** Which of two a request goes to where both have room. */
async function homeOf(options: CallOptions): Promise<number> {
  const fakes = [fakeSidecar(), fakeSidecar()];
  await events(sidecarPool(fakes).generate(asked, options));
  return fakes.findIndex(({ requests }) => requests.length === 1);
}

it('the one that was begun beside, and was not first, is not where a request goes again', async () => {
  const fakes = [fakeSidecar(), fakeSidecar()];
  const options = { idempotencyKey: '00000000'.repeat(8) };
  const { generate } = fakes[0]!;
  let isBeside = () => {};
  const beside = new Promise<void>((resolve) => {
    isBeside = resolve;
  });
  const calls: number[] = [];
  fakes[0]!.generate = async function* (...args) {
    calls.push(0);
    for await (const event of generate(...args)) {
      yield event;
      if (event.event === 'queued') await beside;
    }
  };
  fakes[1]!.generate = async function* (_, { signal } = {}) {
    calls.push(1);
    yield { event: 'queued', queued: {} };
    isBeside();
    await new Promise((_, reject) => signal!.addEventListener('abort', () => reject(signal!.reason)));
  } as typeof generate;
  const pool = sidecarPool(fakes, { hedgeMs: 10 });
  expect(await events(pool.generate(asked, options))).toEqual(whole);
  expect(await events(pool.generate(asked, options))).toEqual(whole);
  expect(calls.slice(0, 3)).toEqual([0, 1, 0]);
});

it('whoever leaves with an event on its way has the attempt end too', async () => {
  const ended = vi.fn();
  async function* attempt() {
    try {
      for (let step = 1; ; step++) yield { event: 'progress', progress: { step } } as GenerateEvent;
    } finally {
      ended();
    }
  }
  for await (const _ of firstToBegin([attempt], { isWorthAnother: () => false })) break;
  await vi.waitFor(() => expect(ended).toHaveBeenCalledOnce());
});

it('a request that does no step in time is begun elsewhere too, and the late one is ended', async () => {
  const [slow, quick] = [fakeSidecar({ stepMs: 60_000 }), fakeSidecar()];
  const ended = new Promise<void>((resolve) => {
    const { generate } = slow;
    slow.generate = (request, options) => {
      options!.signal!.addEventListener('abort', () => resolve());
      return generate(request, options);
    };
  });
  const pool = sidecarPool([slow, quick], { hedgeMs: 10 });
  expect(await events(pool.generate(asked))).toEqual(whole);
  await ended;
  expect([slow.steps, quick.steps]).toEqual([0, 3]);
});

it('without hedging, nothing is begun twice', async () => {
  const fakes = [fakeSidecar({ stepMs: 30 }), fakeSidecar()];
  expect(await events(sidecarPool(fakes).generate(asked))).toEqual(whole);
  expect(fakes.map(({ requests }) => requests.length)).toEqual([1, 0]);
});

it('who leaves ends all that was begun', async () => {
  const fakes = [fakeSidecar({ stepMs: 60_000 }), fakeSidecar({ stepMs: 60_000 })];
  const signals: AbortSignal[] = [];
  for (const fake of fakes) {
    const { generate } = fake;
    fake.generate = (request, options) => {
      signals.push(options!.signal!);
      return generate(request, options);
    };
  }
  const leaving = new AbortController();
  const { signal } = leaving;
  const reading = events(sidecarPool(fakes, { hedgeMs: 1 }).generate(asked, { signal }));
  reading.catch(() => {});
  await expect.poll(() => signals.length).toBe(2);
  leaving.abort();
  expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
});

it('a request that may come again goes where it went before', async () => {
  const fakes = [fakeSidecar(), fakeSidecar()];
  const pool = sidecarPool(fakes);
  const counts = () => fakes.map(({ requests }) => requests.length);
  // Without previews: who streams them and who does not gets the same.
  for (let i = 0; i < 5; i++) await events(pool.generate({ ...asked, previewCount: i }, { isSeeded: true }));
  expect(counts().toSorted()).toEqual([0, 5]);
  for (let i = 0; i < 5; i++)
    await events(pool.generate({ ...asked, seeds: [i] }, { idempotencyKey: '0000000a'.repeat(8) }));
  expect(counts().filter((count) => count % 5 !== 0)).toEqual([]);
  for (let i = 0; i < 40; i++) await events(pool.generate({ ...asked, seeds: [i] }, { isSeeded: true }));
  // Of forty hashes, all on one side is one chance in 2^39, and these are always the same.
  expect(Math.min(...counts())).toBeGreaterThan(5);
  const before = counts();
  for (let i = 0; i < 4; i++) await events(pool.generate(asked));
  expect(counts()).toEqual(before.map((count) => count + 2));
});

it("the routes say of a request whether its seed is the caller's", async () => {
  const sidecar = fakeSidecar();
  const app = createApp({ sidecar, jobs: new JobStore(sidecar) });
  for (const path of ['/v1/images/generations', '/sdapi/v1/txt2img', '/v1/jobs'])
    for (const seed of [undefined, 7]) {
      const response = await app.request(path, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'x', seed }),
      });
      expect(response.status).toBeLessThan(300);
    }
  expect(sidecar.options.map(({ isSeeded }) => isSeeded)).toEqual([false, true, false, true, false, true]);
});
