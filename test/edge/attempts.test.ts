import { expect, it } from 'vitest';
import { createApp } from '../../edge/app.ts';
import { JobStore } from '../../edge/jobs/store.ts';
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
