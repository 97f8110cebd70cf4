import sharp from 'sharp';
import { expect, test, vi } from 'vitest';
import type { PreprocessRequest__Output } from '../../proto/gen/latentedge/v1/PreprocessRequest.ts';
import { Preprocessing } from '../../sidecar/preprocess.ts';
import { Room } from '../../sidecar/room.ts';

async function request(preprocessor = 'canny'): Promise<PreprocessRequest__Output> {
  const create = { width: 8, height: 6, channels: 3, background: 'red' } as const;
  const image = await sharp({ create }).png().toBuffer();
  return {
    ...{ image, mask: Buffer.alloc(0), preprocessor, preprocessorOptions: {} },
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

test('so many pixels are decoded at once, also by calls that fail', async () => {
  let [held, most] = [0, 0];
  const real = Room.prototype.take;
  const take = vi.spyOn(Room.prototype, 'take').mockImplementation(async function (this: Room, ...given) {
    const giveBack = await real.apply(this, given);
    held += given[0];
    most = Math.max(most, held);
    return () => {
      held -= given[0];
      giveBack();
    };
  });
  // Two pictures of 8×6.
  const preprocessing = new Preprocessing(8, 100);
  const calls = await Promise.all([request(), request('inpaint'), request(), request('invert'), request()]);
  const made = await Promise.allSettled(calls.map((call) => preprocessing.run(call)));
  expect(made.map(({ status }) => status).sort()).toEqual([...Array(4).fill('fulfilled'), 'rejected']);
  expect(take).toHaveBeenCalledTimes(5);
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThanOrEqual(96);
  expect(held).toBe(0);
  take.mockRestore();
});

test('who leaves is told so', async () => {
  const reason = new Error('left');
  const run = new Preprocessing().run(await request(), AbortSignal.abort(reason));
  await expect(run).rejects.toBe(reason);
});
