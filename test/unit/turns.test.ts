import { describe, expect, it } from 'vitest';
import {
  FAVOUR_EVERY,
  FAVOUR_WAITS,
  inOrder,
  mostPassedOver,
  PATIENCE,
} from '../../sidecar/engine/batching/order.ts';
import { Ticket, type TicketOptions } from '../../sidecar/engine/batching/ticket.ts';
import { Alone, Turns, type Unit } from '../../sidecar/engine/batching/turns.ts';

const ticket = (stepsLeft: number, options: TicketOptions = {}) =>
  Object.assign(new Ticket(options), { stepsLeft });

describe('inOrder', () => {
  const order = (tickets: Record<string, Ticket>, now = 0) =>
    inOrder(
      Object.entries(tickets).map(([name, ticket]) => ({ name, ticket })),
      now,
    ).map(({ name }) => name);

  it('is that of the fewest steps to go, then that of coming', () => {
    expect(order({ long: ticket(50), one: ticket(1), same: ticket(1), none: ticket(0) })).toEqual([
      'none',
      'one',
      'same',
      'long',
    ]);
  });

  it('has interactive requests before bulk ones', () => {
    expect(order({ job: ticket(1, { priority: 'bulk' }), long: ticket(50) })).toEqual(['long', 'job']);
  });

  it('has what is pressed for time before the rest, by its deadline', () => {
    const at = (deadline: number, stepMs: number, stepsLeft = 50) =>
      Object.assign(ticket(stepsLeft, { deadline }), { stepMs });
    // 50 steps of 10 ms: half a second, a second to be sure.
    const tickets = { one: ticket(1), later: at(900, 10), sooner: at(800, 10), far: at(60_000, 10) };
    expect(order(tickets)).toEqual(['sooner', 'later', 'one', 'far']);
    expect(order({ ...tickets, bulk: Object.assign(at(100, 10), { priority: 'bulk' }) }).at(-1)).toBe('bulk');
  });
});

describe('mostPassedOver', () => {
  it('is of those that have been as often as they bear', () => {
    const long = ticket(50);
    const job = ticket(50, { priority: 'bulk' });
    const of = () => mostPassedOver([ticket(1), long, job].map((ticket) => ({ ticket })))?.ticket;
    long.passedOver = PATIENCE.interactive - 1;
    job.passedOver = PATIENCE.bulk - 1;
    expect(of()).toBeUndefined();
    long.passedOver++;
    expect(of()).toBe(long);
    job.passedOver++;
    expect(of()).toBe(job);
  });
});

describe('Turns', () => {
  /** Requests of so many steps, which note who has a turn. */
  function device() {
    const turns = new Turns();
    const had: string[] = [];
    const work = (name: string, ticket: Ticket) => {
      const unit = new Alone(async () => {
        had.push(name);
        // As on a device: the event loop goes round meanwhile.
        await new Promise(setImmediate);
      }, ticket);
      turns.add(unit);
      return unit.result;
    };
    const request = async (name: string, ticket: Ticket) => {
      for (; ticket.stepsLeft > 0; ticket.stepsLeft--) await work(name, ticket);
    };
    return { had, work, request };
  }

  it('let a request of one step go before the next of fifty', async () => {
    const { had, request, work } = device();
    const long = request('long', ticket(50));
    const one = new Promise<void>((resolve) => {
      // While the third step is under way.
      const wait = async () => {
        while (had.length < 3) await new Promise(setImmediate);
        await request('one', ticket(1));
        resolve();
      };
      void wait();
    });
    await one;
    expect(had.indexOf('one')).toBeLessThanOrEqual(4);
    await long;
    await work('after', ticket(0));
    expect(had).toHaveLength(52);
  });

  it('begin what one asks for right after another, when its turn has ended', async () => {
    const { had, work } = device();
    const [one, long] = [ticket(1), ticket(50)];
    const text = work('text', one).then(() => work('step', one));
    await Promise.all([text, work('long', long), work('long', long)]);
    expect(had).toEqual(['text', 'step', 'long', 'long']);
  });

  it.each(['interactive', 'bulk'] as const)('keep nobody waiting for ever: %s', async (priority) => {
    const { had, request } = device();
    const slow = ticket(3, { priority });
    let isDone = false;
    const served = request('slow', slow).then(() => {
      isDone = true;
    });
    // Two callers who ask for one step after the other, without end.
    const stream = async () => {
      while (!isDone) await request('one', ticket(1));
    };
    await Promise.all([served, stream(), stream()]);
    const at = had.flatMap((name, i) => (name === 'slow' ? [i] : []));
    expect(at).toHaveLength(3);
    for (const [i, turn] of at.entries())
      expect(turn - (at[i - 1] ?? -1)).toBeLessThanOrEqual(PATIENCE[priority] + FAVOUR_EVERY);
    // And nobody waits for what has patience left.
    expect(at[0]).toBe(PATIENCE[priority]);
  });

  it('keep those who come for one step from waiting for many who wait long', async () => {
    const { had, request, work } = device();
    const longs = Array.from({ length: 20 }, () => request('long', ticket(20)));
    while (had.length < 100) await new Promise(setImmediate);
    for (let i = 0; i < 10; i++) {
      const before = had.length;
      const last = ticket(0);
      for (let turn = 0; turn < 4; turn++) await work('one', last);
      // One that has begun, or a favour.
      expect(had.slice(before).filter((name) => name === 'long').length).toBeLessThanOrEqual(2);
    }
    await Promise.all(longs);
  });

  it('give no favour amid a request of one step, as long as it has few turns', async () => {
    const { had, request, work } = device();
    const longs = Array.from({ length: 12 }, () => request('long', ticket(20)));
    while (had.length < 40) await new Promise(setImmediate);
    const one = async (turns: number) => {
      const before = had.length;
      const last = ticket(0);
      for (let turn = 0; turn < turns; turn++) await work('one', last);
      const own = had.slice(before);
      return own.slice(own.indexOf('one'), own.lastIndexOf('one') + 1);
    };
    for (let i = 0; i < 20; i++) expect(await one(FAVOUR_WAITS)).toEqual(Array(FAVOUR_WAITS).fill('one'));
    // One of many images does not hold them up.
    expect((await one(3 * FAVOUR_EVERY)).filter((name) => name === 'long').length).toBeGreaterThanOrEqual(2);
    await Promise.all(longs);
  });

  it('bring those together who ask at different times, and keep them together', async () => {
    const turns = new Turns();
    const sizes: number[] = [];
    /** Units that all have their turn together. */
    const shared = (ticket: Ticket) =>
      new Promise<void>((resolve, reject) => {
        const done = () => new Promise<void>((end) => setTimeout(end, 1));
        turns.add({
          ticket,
          reject,
          begin: (others) => {
            sizes.push(1 + others.length);
            const finish = done().then(() => {
              for (const unit of others) (unit as unknown as { resolve: () => void }).resolve();
              resolve();
            });
            return { together: others, done: finish };
          },
          resolve,
        } as Unit & { resolve: () => void });
      });
    const request = async (ticket: Ticket) => {
      for (; ticket.stepsLeft > 0; ticket.stepsLeft--) await shared(ticket);
    };
    const first = request(ticket(20));
    while (sizes.length < 3) await new Promise(setImmediate);
    await Promise.all([first, request(ticket(20))]);
    // From the turn after the one that was under way.
    expect(sizes.slice(0, 4)).toEqual([1, 1, 1, 2]);
    expect(sizes.filter((size) => size === 2).length).toBeGreaterThanOrEqual(16);
  });

  it('let go of those whose callers have left, with the reason', async () => {
    const { had, work } = device();
    const controller = new AbortController();
    const leaving = work('leaving', ticket(1, { signal: controller.signal }));
    const staying = work('staying', ticket(2));
    controller.abort(new Error('left'));
    await expect(leaving).rejects.toThrow('left');
    await staying;
    expect(had).toEqual(['staying']);
  });

  it('go on after work that fails', async () => {
    const turns = new Turns();
    const failing = new Alone(() => {
      throw new Error('no');
    }, ticket(0));
    const next = new Alone(async () => 'done', ticket(1));
    turns.add(failing);
    turns.add(next);
    await expect(failing.result).rejects.toThrow('no');
    expect(await next.result).toBe('done');
  });
});
