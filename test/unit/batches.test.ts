import { afterEach, describe, expect, it, vi } from 'vitest';
import { LEAST } from '../../sidecar/engine/batching/costs.ts';
import { Ticket } from '../../sidecar/engine/batching/ticket.ts';
import type { Context, Denoiser, Kind, Row } from '../../sidecar/engine/denoiser.ts';
import { Evaluator } from '../../sidecar/engine/evaluator.ts';

const SIZE = { height: 2, width: 2 };

/** A denoiser that adds the timestep to the sample, and the rows of its runs. */
function fake(
  fails: (rows: readonly Row[]) => Error | undefined = () => undefined,
  onRun = (_rows: number) => {},
) {
  const ready = new Set<number>();
  const runs: number[][] = [];
  const denoiser = {
    ...{ id: 1, outChannels: 1, kindBytes: () => 0 },
    isReady: (_: Kind, rows: number | readonly Row[]) =>
      ready.has(typeof rows === 'number' ? rows : rows.length),
    async predict(_: Kind, rows: readonly Row[]) {
      await new Promise(setImmediate);
      onRun(rows.length);
      const error = fails(rows);
      if (error) throw error;
      ready.add(rows.length);
      runs.push(rows.map(({ sample }) => sample[0]!));
      return rows.map(({ sample, timestep }) => sample.map((x) => x + timestep));
    },
  } as unknown as Denoiser;
  return { denoiser, runs };
}

/** Predictions of one step, whose images hold `name`, `name` + 0.1, … */
function step(
  evaluator: Evaluator,
  denoiser: Denoiser,
  name: number,
  ticket = new Ticket(),
  { images = 1, texts = 1, timestep = 100 } = {},
) {
  const sample = Float32Array.from({ length: images * 4 }, (_, i) => name + Math.floor(i / 4) / 8);
  const contexts: Context[] = Array.from({ length: texts }, () => ({}));
  return evaluator.evaluate({ denoiser, contexts, sample, images, size: SIZE, timestep }, ticket);
}

const outOfMemory = () => Object.assign(new Error('no memory'), { code: 'ERR_OUT_OF_MEMORY' });

/** An evaluator whose denoiser has been seen with one, two and four rows. */
async function warm(denoiser: Denoiser) {
  const evaluator = new Evaluator();
  // The first, in which it is compiled, does not count.
  for (const images of [1, 2, 4])
    for (let i = 0; i <= LEAST; i++) await step(evaluator, denoiser, 0, new Ticket(), { images });
  return evaluator;
}

describe('a batch', () => {
  it('is of several requests, whatever their timesteps and texts, and each gets its own', async () => {
    const { denoiser, runs } = fake();
    const evaluator = await warm(denoiser);
    const before = evaluator.occupancy.batchedRows;
    runs.length = 0;
    const [one, guided, several] = await Promise.all([
      step(evaluator, denoiser, 1, new Ticket(), { timestep: 10 }),
      step(evaluator, denoiser, 2, new Ticket(), { texts: 2, timestep: 20 }),
      step(evaluator, denoiser, 3, new Ticket(), { images: 2, texts: 2, timestep: 30 }),
    ]);
    const filled = (...values: number[]) => Float32Array.from(values.flatMap((x) => [x, x, x, x]));
    expect(one).toEqual([filled(11)]);
    expect(guided).toEqual([filled(22), filled(22)]);
    expect(several).toEqual([filled(33, 33.125), filled(33, 33.125)]);
    expect(runs.flat()).toHaveLength(7);
    expect(evaluator.occupancy.batchedRows).toBeGreaterThan(before);
    const { bySize, rows, runs: count } = evaluator.occupancy;
    expect([...bySize].reduce((sum, [size, n]) => sum + size * n, 0)).toBe(rows);
    expect([...bySize.values()].reduce((a, b) => a + b)).toBe(count);
  });

  it('has nothing of another model', async () => {
    const { denoiser, runs } = fake();
    const other = fake();
    const evaluator = await warm(denoiser);
    Object.assign(other.denoiser, { id: 2 });
    await Promise.all([
      step(evaluator, denoiser, 1),
      step(evaluator, other.denoiser, 2),
      step(evaluator, denoiser, 3),
    ]);
    expect(other.runs).toEqual([[2]]);
    expect(runs.flat()).not.toContain(2);
  });
});

describe('while a request comes', () => {
  afterEach(() => vi.restoreAllMocks());

  it('the next batch is of no more rows than the first in line has', async () => {
    let ms = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => ms);
    const { denoiser, runs } = fake(undefined, (rows) => {
      ms += 4 + rows;
    });
    const evaluator = await warm(denoiser);
    const two = async () => {
      runs.length = 0;
      await Promise.all([1, 2].map((name) => step(evaluator, denoiser, name, new Ticket(), { texts: 2 })));
      return runs.map((rows) => rows.join(' '));
    };
    expect(await two()).toEqual(['1 1 2 2']);
    const arrived = evaluator.expect();
    // Where there is nobody to leave out, it is not spent.
    await step(evaluator, denoiser, 3, new Ticket(), { texts: 2 });
    expect(await two()).toEqual(['1 1', '2 2']);
    arrived();
    expect(await two()).toEqual(['1 1 2 2']);
  });
});

describe('an error', () => {
  it('in a batch is its own request’s alone', async () => {
    const { denoiser, runs } = fake((rows) =>
      rows.some(({ sample }) => sample[0] === 2) ? new Error('two') : undefined,
    );
    const evaluator = await warm(denoiser);
    runs.length = 0;
    const results = await Promise.allSettled([1, 2, 3, 4].map((name) => step(evaluator, denoiser, name)));
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
    expect(results[1]).toMatchObject({ reason: { message: 'two' } });
    expect(runs.flat().sort()).toEqual([1, 3, 4]);
  });

  it('of one request’s rows leaves the rest of them undone', async () => {
    let asked = 0;
    const { denoiser } = fake(() => {
      asked++;
      return new Error('no');
    });
    const evaluator = new Evaluator();
    await expect(step(evaluator, denoiser, 1, new Ticket(), { images: 64 })).rejects.toThrow('no');
    await step(evaluator, fake().denoiser, 2);
    expect(asked).toBe(1);
  });

  it('for want of memory is tried again in smaller pieces, and those are remembered', async () => {
    let most = 4;
    const { denoiser, runs } = fake(({ length }) => (length > most ? outOfMemory() : undefined));
    const evaluator = await warm(denoiser);
    most = 2;
    runs.length = 0;
    const four = () => Promise.all([1, 2, 3, 4].map((name) => step(evaluator, denoiser, name)));
    expect((await four()).map(([prediction]) => prediction![0])).toEqual([101, 102, 103, 104]);
    expect(Math.max(...runs.map(({ length }) => length))).toBeLessThanOrEqual(2);
    // Its own rows are brought down as others' are.
    await step(evaluator, denoiser, 5, new Ticket(), { images: 4 });
    most = 0;
    await expect(step(evaluator, denoiser, 6)).rejects.toThrow('no memory');
    most = 4;
    await step(evaluator, denoiser, 7);
  });
});

describe('a request that is cancelled', () => {
  it('leaves with its reason before its turn, and the others stay', async () => {
    const { denoiser, runs } = fake();
    const evaluator = await warm(denoiser);
    runs.length = 0;
    const controller = new AbortController();
    const leaving = step(evaluator, denoiser, 1, new Ticket({ signal: controller.signal }), { images: 3 });
    const staying = step(evaluator, denoiser, 2);
    controller.abort(new Error('left'));
    await expect(leaving).rejects.toThrow('left');
    await staying;
    expect(runs).toEqual([[2]]);
  });
});

describe('a request of one step', () => {
  it('waits for the turn under way and at most one more, also when it cannot share a batch', async () => {
    const { denoiser, runs } = fake();
    const turbo = fake();
    Object.assign(turbo.denoiser, { id: 2 });
    const evaluator = await warm(denoiser);
    runs.length = 0;
    const long = async (name: number) => {
      const ticket = new Ticket();
      for (ticket.stepsLeft = 50; ticket.stepsLeft > 0; ticket.stepsLeft--)
        await step(evaluator, denoiser, name, ticket, { texts: 2 });
    };
    const others = Promise.all([1, 2, 3].map(long));
    const waited: number[] = [];
    for (let i = 0; i < 8; i++) {
      for (let n = runs.length; runs.length < n + 3; ) await new Promise(setImmediate);
      const before = runs.length;
      const ticket = Object.assign(new Ticket(), { stepsLeft: 1 });
      // Text, step and decode: three turns.
      await evaluator.exclusive(async () => {}, ticket);
      await step(evaluator, turbo.denoiser, 9, ticket);
      ticket.stepsLeft = 0;
      await evaluator.exclusive(async () => {}, ticket);
      waited.push(runs.length - before);
    }
    expect(Math.max(...waited)).toBeLessThanOrEqual(2);
    await others;
  });
});
