import { errors } from '../../errors.ts';

/** A request is refused only where even so much of the estimated time is too long. */
const MARGIN = 0.5;

/**
 * Refuses at once what would be given up at its deadline.
 * @param deadline milliseconds since 1970; undefined: there is none.
 * @param workMs that the request takes a device, about; `waitMs`: until it could begin.
 * @throws ServiceError deadline_exceeded, saying what it would take.
 */
export function checkDeadline(deadline: number | undefined, workMs: number, waitMs = 0): void {
  if (deadline === undefined) return;
  const leftMs = deadline - Date.now();
  if (leftMs < MARGIN * (workMs + waitMs)) throw errors.deadlineTooNear(leftMs, workMs, waitMs);
}
