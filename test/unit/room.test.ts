import { expect, it } from 'vitest';
import { Room } from '../../sidecar/room.ts';

/** Those who ask for so much, and who has got it, in order. */
function asking(most: number) {
  const room = new Room(most);
  const got: string[] = [];
  const take = async (name: string, amount: number, signal?: AbortSignal) => {
    const giveBack = await room.take(amount, signal);
    got.push(name);
    return giveBack;
  };
  return { take, got };
}

const settled = () => new Promise(setImmediate);

it('has so much for all together, in the order of coming', async () => {
  const { take, got } = asking(10);
  const all = [take('a', 6), take('b', 5), take('c', 1), take('d', 4)];
  await settled();
  // c would fit, but b came before it.
  expect(got).toEqual(['a']);
  const giveBack = await all[0]!;
  giveBack();
  giveBack();
  await settled();
  expect(got).toEqual(['a', 'b', 'c', 'd']);
  const last = take('e', 1);
  await settled();
  expect(got).not.toContain('e');
  (await all[2]!)();
  await last;
});

it('lets one have more than there is, alone', async () => {
  const { take, got } = asking(10);
  const small = await take('small', 1);
  const all = [take('large', 50), take('after', 1)];
  await settled();
  expect(got).toEqual(['small']);
  small();
  const large = await all[0]!;
  await settled();
  expect(got).toEqual(['small', 'large']);
  large();
  await all[1];
});

it('has nothing kept for who has left', async () => {
  const { take, got } = asking(10);
  const first = await take('first', 8);
  const leaving = new AbortController();
  const left = take('left', 9, leaving.signal);
  const behind = take('behind', 2);
  const reason = new Error('left');
  leaving.abort(reason);
  await expect(left).rejects.toBe(reason);
  await behind;
  await expect(take('early', 1, AbortSignal.abort(reason))).rejects.toBe(reason);
  first();
  await take('last', 8);
  expect(got).toEqual(['first', 'behind', 'last']);
});
