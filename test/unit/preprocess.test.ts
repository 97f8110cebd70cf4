import sharp from 'sharp';
import { afterEach, expect, test, vi } from 'vitest';
import type { PreprocessRequest__Output } from '../../proto/gen/latentedge/v1/PreprocessRequest.ts';
import { Preprocessing } from '../../sidecar/preprocess.ts';
import { Room } from '../../sidecar/room.ts';

afterEach(() => vi.restoreAllMocks());

async function request(preprocessor = 'canny', mask = Buffer.alloc(0)): Promise<PreprocessRequest__Output> {
  const create = { width: 8, height: 6, channels: 3, background: 'red' } as const;
  const image = await sharp({ create }).png().toBuffer();
  return {
    ...{ image, mask, preprocessor, preprocessorOptions: {} },
    width: 0,
    height: 0,
    resize: '',
  } as never;
}

test('so many calls wait or are at work, and the next is refused with a hint', async () => {
  const preprocessing = new Preprocessing(2);
  const asked = await request();
  const calls = [preprocessing.run(asked), preprocessing.run(asked)];
  const third = preprocessing.run(asked);
  await expect(third).rejects.toMatchObject({ code: 'queue_full', retryAfterMs: expect.any(Number) });
  for (const { hint } of await Promise.all(calls)) expect(hint).toMatchObject({ width: 8, height: 6 });
  // Also of one that failed the place is free again.
  const wrong = await request('nothing');
  for (let i = 0; i < 3; i++)
    await expect(preprocessing.run(wrong)).rejects.toMatchObject({ code: 'invalid_argument' });
  await expect(preprocessing.run(asked)).resolves.toMatchObject({ hint: { width: 8 } });
});

const maskOf = (width: number, height: number) =>
  sharp({ create: { width, height, channels: 3, background: 'white' } })
    .png()
    .toBuffer();

/** What is taken of rooms. */
function watchRooms() {
  const seen = { held: 0, most: 0 };
  const real = Room.prototype.take;
  const take = vi.spyOn(Room.prototype, 'take').mockImplementation(async function (this: Room, ...given) {
    const giveBack = await real.apply(this, given);
    seen.held += given[0];
    seen.most = Math.max(seen.most, seen.held);
    return () => {
      seen.held -= given[0];
      giveBack();
    };
  });
  return { seen, take };
}

test('so many pixels are decoded at once, also by calls that fail', async () => {
  const { seen, take } = watchRooms();
  // Two pictures of 8×6.
  const preprocessing = new Preprocessing(8, 100);
  // Its header can be read, and no more.
  const broken = (await maskOf(8, 6)).subarray(0, -24);
  const calls = await Promise.all([
    ...[request(), request('inpaint', broken), request(), request('invert'), request()],
  ]);
  const made = await Promise.allSettled(calls.map((call) => preprocessing.run(call)));
  expect(made.map(({ status }) => status).sort()).toEqual([...Array(4).fill('fulfilled'), 'rejected']);
  expect(take).toHaveBeenCalledTimes(5);
  expect(seen.most).toBeGreaterThan(0);
  expect(seen.most).toBeLessThanOrEqual(96);
  expect(seen.held).toBe(0);
});

test('a mask counts too, where it is larger than its picture', async () => {
  const { seen, take } = watchRooms();
  const preprocessing = new Preprocessing(8, 1000);
  const masks = await Promise.all([maskOf(30, 20), maskOf(25, 20), maskOf(4, 3)]);
  const calls = await Promise.all([...masks, ...masks].map((mask) => request('inpaint', mask)));
  for (const { hint } of await Promise.all(calls.map((call) => preprocessing.run(call))))
    expect(hint).toMatchObject({ width: 8, height: 6 });
  expect(take.mock.calls.map(([pixels]) => pixels).sort()).toEqual([48, 48, 500, 500, 600, 600]);
  expect(seen.most).toBeLessThanOrEqual(1000);
  expect(seen.held).toBe(0);
});

test('who leaves is told so', async () => {
  const reason = new Error('left');
  const run = new Preprocessing().run(await request(), AbortSignal.abort(reason));
  await expect(run).rejects.toBe(reason);
});
