import { describe, expect, it } from 'vitest';
import { batchSize, SHORT_STRETCH, STRETCH, type Waiting } from '../../sidecar/engine/batching/batch-size.ts';
import { Costs, LEAST } from '../../sidecar/engine/batching/costs.ts';

function costsOf(known: Record<number, number>): Costs {
  const costs = new Costs();
  for (const [size, ms] of Object.entries(known)) for (let i = 0; i < LEAST; i++) costs.add(Number(size), ms);
  return costs;
}

/** Of rows whose plans are compiled for what was measured, where nothing else is said. */
function size(known: Record<number, number>, waiting: Partial<Waiting> & { rows: number }) {
  const costs = costsOf(known);
  const isReady = (size: number) => size in known;
  return batchSize({ own: 1, limit: 64, stretch: STRETCH, costs, isReady, fits: () => true, ...waiting });
}

describe('what is not compiled yet', () => {
  it('is, for the first in line alone, where nothing is there', () => {
    expect(size({}, { rows: 8, own: 2 })).toBe(2);
    expect(size({}, { rows: 8, own: 8 })).toBe(8);
    expect(size({}, { rows: 5, own: 5 })).toBe(4);
    expect(size({}, { rows: 8, own: 8, limit: 4 })).toBe(4);
  });

  it('is where it halves the runs, and else not', () => {
    expect(size({ 2: 10 }, { rows: 4, own: 2 })).toBe(4);
    expect(size({ 2: 10 }, { rows: 3, own: 2 })).toBe(2);
    expect(size({ 4: 10 }, { rows: 6, own: 6 })).toBe(4);
    expect(size({ 2: 10 }, { rows: 8, own: 8 })).toBe(8);
    expect(size({ 2: 10 }, { rows: 1, own: 1 })).toBe(1);
  });

  it('is not where there is no memory for it, or was not lately', () => {
    expect(size({ 2: 10 }, { rows: 4, own: 2, fits: () => false })).toBe(2);
    const costs = costsOf({ 2: 10 });
    costs.fail(4);
    const isReady = (n: number) => n === 2;
    const waiting = { rows: 4, own: 2, limit: 64, stretch: STRETCH, costs, isReady, fits: () => true };
    expect(batchSize(waiting)).toBe(2);
    for (let i = 0; i < 64; i++) costs.add(2, 10);
    expect(batchSize(waiting)).toBe(4);
    costs.fail(2);
    expect(batchSize({ ...waiting, isReady: () => false })).toBe(1);
  });

  it('is tried until it has been measured', () => {
    expect(size({ 2: 10 }, { rows: 4, own: 2, isReady: (n) => n === 2 || n === 4 })).toBe(4);
  });
});

describe('of what was measured', () => {
  it('it is the size with the least time per row', () => {
    expect(size({ 2: 10, 4: 15 }, { rows: 4, own: 2 })).toBe(4);
    expect(size({ 2: 10, 4: 15, 8: 19 }, { rows: 7, own: 2 })).toBe(4);
    expect(size({ 2: 10, 4: 15, 8: 19 }, { rows: 8, own: 2 })).toBe(8);
  });

  it('it is the first in line’s own rows, where more gain next to nothing', () => {
    expect(size({ 1: 5, 2: 10, 4: 19.9 }, { rows: 4, own: 2 })).toBe(2);
    expect(size({ 1: 5, 2: 10, 4: 19.9 }, { rows: 4, own: 1 })).toBe(1);
    // Smaller pieces of a request's own rows let others in between; only where they cost nothing at all.
    expect(size({ 1: 5, 2: 10, 4: 19.9 }, { rows: 4, own: 4 })).toBe(4);
    expect(size({ 1: 3, 4: 19.9 }, { rows: 4, own: 4 })).toBe(1);
  });

  it(`it does not make the first in line wait more than ${STRETCH} times as long`, () => {
    expect(size({ 2: 10, 4: 15, 8: 21 }, { rows: 8, own: 2 })).toBe(4);
    expect(size({ 1: 6, 2: 10, 4: 15, 8: 21 }, { rows: 8, own: 1 })).toBe(2);
  });

  it(`nor more than ${SHORT_STRETCH} times, while somebody comes who may go before it`, () => {
    const stretch = SHORT_STRETCH;
    expect(size({ 2: 10, 4: 15, 8: 19 }, { rows: 8, own: 2, stretch })).toBe(2);
    // Where rows cost next to nothing, they come along all the same.
    expect(size({ 2: 10, 4: 11, 8: 13 }, { rows: 8, own: 2, stretch })).toBe(4);
    // Nothing larger is compiled then.
    expect(size({ 2: 10 }, { rows: 4, own: 2, stretch })).toBe(2);
    expect(size({ 2: 10, 4: 15 }, { rows: 4, own: 4, stretch })).toBe(4);
  });
});

describe('Costs', () => {
  it('estimate along what was measured', () => {
    expect(costsOf({}).estimate(4)).toBeUndefined();
    expect(costsOf({ 2: 10 }).estimate(4)).toBe(20);
    expect(costsOf({ 2: 10, 4: 14 }).estimate(8)).toBe(22);
    expect(costsOf({ 2: 10, 6: 18 }).estimate(4)).toBe(14);
    expect(costsOf({ 2: 10, 4: 14 }).estimate(1)).toBe(5);
    // A larger batch that took less time is noise.
    expect(costsOf({ 2: 10, 4: 9 }).estimate(8)).toBe(9);
  });

  it('follow what is measured, but for the first run of a program', () => {
    const costs = new Costs();
    costs.add(2, 500, true);
    costs.add(2, 90);
    costs.add(2, 10);
    // Not yet: one of them may have been held up.
    expect(costs.ms(2)).toBeUndefined();
    costs.add(2, 10);
    expect(costs.ms(2)).toBe(10);
    for (const ms of [90, 10]) costs.add(2, ms);
    // Of five the middle one: what others held up changes nothing.
    expect(costs.ms(2)).toBe(10);
    for (let i = 0; i < 3; i++) costs.add(2, 20);
    expect(costs.ms(2)).toBe(20);
  });

  it('forget', () => {
    const costs = costsOf({ 4: 10 });
    for (let i = 0; i < 63; i++) costs.add(2, 10);
    expect(costs.ms(4)).toBe(10);
    costs.add(2, 10);
    expect(costs.ms(4)).toBeUndefined();
  });
});
