import { describe, expect, it } from 'vitest';
import { Pool, type Room } from '../../sidecar/engine/pool.ts';

function pool(count: number, cost = Number.POSITIVE_INFINITY) {
  const events: string[] = [];
  const values = new Pool<string>({ count, cost });
  const use = (key: string, work: () => Promise<unknown> = async () => {}, costOf = 1) =>
    values.use(
      key,
      async () => {
        events.push(`+${key}`);
        return { value: key, cost: costOf, dispose: async () => void events.push(`-${key}`) };
      },
      work,
    );
  return { values, use, events };
}

describe('Pool', () => {
  it('makes a value once, for users at the same time too', async () => {
    const { use, events } = pool(2);
    await Promise.all([use('a'), use('a'), use('a')]);
    await use('a');
    expect(events).toEqual(['+a']);
  });

  it('lets the least recently used go', async () => {
    const { use, events, values } = pool(2);
    for (const key of ['a', 'b', 'a', 'c']) await use(key);
    expect(events).toEqual(['+a', '+b', '+c', '-b']);
    expect(values.has('b')).toBe(false);
    expect(values.values()).toEqual(['a', 'c']);
  });

  it('makes room before a value is made that says what it costs', async () => {
    const events: string[] = [];
    const values = new Pool<string>({ count: 10, cost: 5 });
    for (const key of ['a', 'b']) {
      const make = async (room: Room) => {
        await room(3);
        events.push(`+${key}`);
        return { value: key, cost: 3, dispose: async () => void events.push(`-${key}`) };
      };
      await values.use(key, make, async () => {});
    }
    expect(events).toEqual(['+a', '-a', '+b']);
  });

  it('counts costs, and keeps what is in use', async () => {
    const { use, events } = pool(10, 5);
    await use('a', () => use('b', undefined, 3), 4);
    expect(events).toEqual(['+a', '+b', '-a']);
  });

  it('keeps the one used last, though it is over the limit alone', async () => {
    const { use, events } = pool(10, 5);
    for (const key of ['small', 'large', 'large', 'small'])
      await use(key, undefined, key === 'large' ? 9 : 1);
    expect(events).toEqual(['+small', '+large', '-small', '+small', '-large']);
  });

  it('makes room for one over the limit, and keeps it', async () => {
    const events: string[] = [];
    const values = new Pool<string>({ count: 10, cost: 5 });
    const use = (key: string, cost: number) =>
      values.use(
        key,
        async (room) => {
          await room(cost);
          events.push(`+${key}`);
          return { value: key, cost, dispose: async () => void events.push(`-${key}`) };
        },
        async () => {},
      );
    for (const [key, cost] of Object.entries({ a: 2, b: 9 })) await use(key, cost);
    await use('b', 9);
    expect(events).toEqual(['+a', '-a', '+b']);
  });

  it('forgets what could not be made', async () => {
    const values = new Pool<number>({ count: 1, cost: 1 });
    const fail = () =>
      values.use(
        'a',
        () => Promise.reject(new Error('no')),
        async () => {},
      );
    await expect(fail()).rejects.toThrow('no');
    const make = async () => ({ value: 7, cost: 0, dispose: async () => {} });
    expect(await values.use('a', make, async (value) => value)).toBe(7);
  });

  it('clears', async () => {
    const { use, events, values } = pool(4);
    for (const key of ['a', 'b']) await use(key);
    await values.clear();
    expect(events).toEqual(['+a', '+b', '-a', '-b']);
  });

  it('makes a discarded value anew while others use it, and lets it go with the last of them', async () => {
    const events: string[] = [];
    const values = new Pool<{ n: number }>({ count: 4, cost: 100 });
    let made = 0;
    const use = (work: (value: { n: number }) => Promise<unknown>) =>
      values.use(
        'a',
        async () => {
          const n = ++made;
          return { value: { n }, cost: 10, dispose: async () => void events.push(`-${n}`) };
        },
        work,
      );
    await use(async (old) => {
      await use(async (same) => expect(same).toBe(old));
      await values.discard('a', old);
      expect([values.has('a'), values.cost, events]).toEqual([false, 10, []]);
      await use(async (fresh) => {
        expect(fresh.n).toBe(2);
        expect(values.cost).toBe(20);
        // Of somebody who was slower to find out.
        await values.discard('a', old);
        expect(values.peek('a')).toBe(fresh);
      });
      expect(events).toEqual([]);
    });
    expect([values.peek('a')?.n, values.cost, events]).toEqual([2, 10, ['-1']]);
    await values.discard('a', values.peek('a')!);
    expect([values.has('a'), events]).toEqual([false, ['-1', '-2']]);
  });
});
