import { SidecarError } from './client.ts';

/** Not there, or about to go: another may do. */
export function isGone(error: unknown): boolean {
  return (
    error instanceof SidecarError &&
    ['sidecar_unreachable', 'shutting_down', 'device_lost'].includes(error.code)
  );
}

/** Refused before any work, as there is no room: another may have some. */
export function isFull(error: unknown): error is SidecarError {
  return error instanceof SidecarError && error.code === 'queue_full';
}

/** Those who have no room for a call, each of whom is asked once. */
export class Refusals<Who> {
  readonly #byWho = new Map<Who, SidecarError>();

  /** Keeps an error, if it is such a refusal. @returns whether it is the first of theirs. */
  add(who: Who, error: unknown): boolean {
    if (!isFull(error) || this.#byWho.has(who)) return false;
    this.#byWho.set(who, error);
    return true;
  }

  of(who: Who): SidecarError | undefined {
    return this.#byWho.get(who);
  }

  get all(): Who[] {
    return [...this.#byWho.keys()];
  }

  /**
   * What to tell the caller where there is nobody else to ask, and the last error was this: of refusals, the one after
   * which trying again makes sense first, also where others are gone.
   */
  verdict(last: unknown): unknown {
    if (this.#byWho.size === 0 || !(isFull(last) || isGone(last))) return last;
    const hint = ({ retryAfterMs = Number.POSITIVE_INFINITY }: SidecarError) => retryAfterMs;
    return [...this.#byWho.values()].reduce((best, other) => (hint(other) < hint(best) ? other : best));
  }
}
