import { expect, it } from 'vitest';
import { SidecarError } from '../../edge/sidecar/client.ts';
import { sidecarPool } from '../../edge/sidecar/pool.ts';
import { fakeSidecar } from '../support/fake-sidecar.ts';

// Several sidecars, one of which is slow, or gone.

const asked = { prompt: 'x', seeds: [1], steps: 3 };
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

it('no other is asked where that would do no good', async () => {
  const full = new SidecarError('Full', { code: 'invalid_argument', httpStatus: 400 });
  const fakes = [fakeSidecar({ fail: { error: full } }), fakeSidecar()];
  await expect(events(sidecarPool(fakes).generate(asked))).rejects.toBe(full);
  expect(fakes[1]!.requests).toEqual([]);
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
