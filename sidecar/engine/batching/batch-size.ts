import type { Costs } from './costs.ts';

/** Rows of a batch: powers of two, and three times them. */
const SIZES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];

/** For the sake of others, the first in line waits at most so many times as long as its rows alone would take. */
export const STRETCH = 2;

/** The same while somebody comes who may go before it. */
export const SHORT_STRETCH = 1.25;

/** A larger batch has to save so much time per row that it is preferred. */
const GAIN = 0.05;

/** What a batch can be made of. */
export interface Waiting {
  /** Rows that can share a plan. */
  rows: number;
  /** Those of them that are the first in line's, for the same step. */
  own: number;
  /** Rows at most. */
  limit: number;
  /** How many times as long as its own rows alone the first in line may wait. */
  stretch: number;
  costs: Costs;
  /** Whether the plan is compiled for so many rows. */
  isReady: (size: number) => boolean;
  /** Whether there is memory to compile it for so many. */
  fits: (size: number) => boolean;
}

/**
 * How many rows to evaluate at once. By measured time: of the sizes with the least time per row, or nearly so, the
 * smallest that holds the first in line's own rows, so that others wait less for their turn; but none that would take
 * longer than `stretch` times those rows alone.
 *
 * What is not left over from before is compiled only where it at least halves the runs: the first in line's own rows, or
 * twice the largest size that is there. What is compiled and not measured yet is tried.
 */
export function batchSize({ rows, own, limit, stretch, costs, isReady, fits }: Waiting): number {
  const most = Math.max(1, Math.min(rows, limit));
  const sizes = SIZES.filter((size) => size <= most);
  const alone = sizes.findLast((size) => size <= own)!;
  const ready = sizes.filter(isReady);
  const largest = ready.at(-1);
  if (!largest) return costs.hasFailed(alone) ? 1 : alone;

  const bound = stretch * (costs.estimate(alone) ?? 0);
  const isBearable = (size: number) =>
    size <= alone || (costs.estimate(size) ?? Number.POSITIVE_INFINITY) <= bound;
  const isUntried = (size: number) => costs.ms(size) === undefined && isBearable(size);

  const larger = Math.max(alone, 2 * largest);
  if (larger <= most && isUntried(larger) && (larger === alone || fits(larger))) return larger;
  // Smaller pieces are measured where somebody has no more rows.
  const untried = ready.findLast((size) => isUntried(size) && size >= Math.min(alone, largest));
  if (untried) return untried;

  const perRow = (size: number) => costs.ms(size)! / size;
  const measured = ready.filter((size) => costs.ms(size) !== undefined && isBearable(size));
  const best = Math.min(...measured.map(perRow));
  const good = measured.filter((size) => perRow(size) <= (1 + GAIN) * best && !costs.hasFailed(size));
  return good.find((size) => size >= alone) ?? good.at(-1) ?? ready[0]!;
}
