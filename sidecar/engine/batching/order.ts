import type { Priority, Ticket } from './ticket.ts';

/** Turns that a request lets others go before it; then it is its turn. */
export const PATIENCE: Readonly<Record<Priority, number>> = { interactive: 8, bulk: 32 };

/**
 * Who goes first: those that have been passed over as often as they bear, the most often passed over first; then
 * interactive requests before bulk ones; of these, those that are pressed for time, by their deadlines; then those with
 * the fewest steps to go; then those that came first.
 *
 * So the wait is bounded: at most PATIENCE turns, and one for each other request that has waited as long.
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

/** What is smaller goes first, number by number. */
function rankOf(ticket: Ticket, now: number): number[] {
  const { priority, passedOver, stepsLeft } = ticket;
  return [
    passedOver >= PATIENCE[priority] ? -passedOver : 0,
    priority === 'interactive' ? 0 : 1,
    isPressed(ticket, now) ? ticket.deadline! : Number.MAX_VALUE,
    stepsLeft,
  ];
}

/** Whether it would be late if its steps took twice as long as they have so far. */
function isPressed({ deadline, stepsLeft, stepMs }: Ticket, now: number): boolean {
  return deadline !== undefined && now + 2 * stepsLeft * stepMs > deadline;
}
