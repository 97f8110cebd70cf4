import type { Priority, Ticket } from './ticket.ts';

/** Turns that a request lets others go before it, before it asks for a favour. */
export const PATIENCE: Readonly<Record<Priority, number>> = { interactive: 8, bulk: 32 };

/** At most every so many turns one is given as a favour, so that those who wait long do not make all others wait. */
export const FAVOUR_EVERY = 16;

/**
 * So many turns more a favour waits for a request that had the last one and has one step to go at most: text, its
 * beginning, step and picture of a request of one step. Then it comes between requests, and not amid one.
 */
export const FAVOUR_WAITS = 4;

/**
 * Who goes first: interactive requests before bulk ones; of these, those that are pressed for time, by their deadlines;
 * then those with the fewest steps to go; then those that came first.
 */
export function inOrder<T extends { ticket: Ticket }>(waiting: Iterable<T>, now = Date.now()): T[] {
  const ranks = new Map<Ticket, number[]>();
  const rank = (ticket: Ticket) => {
    const known = ranks.get(ticket) ?? rankOf(ticket, now);
    ranks.set(ticket, known);
    return known;
  };
  return [...waiting].sort((a, b) => {
    const [first, second] = [rank(a.ticket), rank(b.ticket)];
    for (const [i, value] of first.entries()) if (value !== second[i]) return value - second[i]!;
    return 0;
  });
}

/** The one most often passed over of those that have been as often as they bear: so nobody waits for ever. */
export function mostPassedOver<T extends { ticket: Ticket }>(waiting: readonly T[]): T | undefined {
  return waiting
    .filter(({ ticket }) => ticket.passedOver >= PATIENCE[ticket.priority])
    .reduce<T | undefined>(
      (most, unit) => (most && most.ticket.passedOver >= unit.ticket.passedOver ? most : unit),
      undefined,
    );
}

/** What is smaller goes first, number by number. */
function rankOf(ticket: Ticket, now: number): number[] {
  const { priority, stepsLeft } = ticket;
  return [
    priority === 'interactive' ? 0 : 1,
    isPressed(ticket, now) ? ticket.deadline! : Number.MAX_VALUE,
    stepsLeft,
  ];
}

/** Whether it would be late if its steps took twice as long as they have so far, or are estimated to. */
function isPressed({ deadline, stepsLeft, stepMs }: Ticket, now: number): boolean {
  return deadline !== undefined && now + 2 * stepsLeft * stepMs > deadline;
}
