/**
 * A controller that is aborted with another signal too. AbortSignal.any would do, but what it makes is for nobody to
 * hold, and may be collected before it says anything.
 */
export function leavingWith(signal: AbortSignal | undefined): AbortController {
  const left = new AbortController();
  const leave = () => left.abort(signal?.reason);
  signal?.addEventListener('abort', leave, { once: true, signal: left.signal });
  if (signal?.aborted) leave();
  return left;
}
