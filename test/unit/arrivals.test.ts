import { describe, expect, it } from 'vitest';
import { Arrivals, SHORT_EVERY } from '../../sidecar/engine/batching/arrivals.ts';

/** Which of so many turns are short. */
const turns = (arrivals: Arrivals, count: number) => Array.from({ length: count }, () => arrivals.isShort());

describe('a turn is kept short', () => {
  it('for who comes, once', () => {
    const arrivals = new Arrivals();
    expect(turns(arrivals, 1)).toEqual([false]);
    arrivals.add();
    expect(turns(arrivals, 8)).toEqual([true, ...Array(7).fill(false)]);
  });

  it('for several at once, and not for who is in line by then', () => {
    const arrivals = new Arrivals();
    const ends = [arrivals.add(), arrivals.add()];
    ends[0]!();
    ends[0]!();
    expect(turns(arrivals, 1)).toEqual([true]);
    ends[1]!();
    expect(turns(arrivals, SHORT_EVERY)).toEqual(Array(SHORT_EVERY).fill(false));
    arrivals.add()();
    expect(turns(arrivals, 1)).toEqual([false]);
  });

  it(`every ${SHORT_EVERY} turns at most, however many come`, () => {
    const arrivals = new Arrivals();
    const short = Array.from({ length: 4 * SHORT_EVERY }, () => {
      arrivals.add();
      return arrivals.isShort();
    });
    expect(short.flatMap((is, i) => (is ? [i] : []))).toEqual([0, 1, 2, 3].map((i) => i * SHORT_EVERY));
  });
});
