import { type Client, connectivityState } from '@grpc/grpc-js';

/** Looks that find it connecting, one after the other: where this process stood still itself, one look is late. */
const LOOKS = 5;

export interface Connecting {
  /** To be called as a call begins. */
  look: () => void;
  end: () => void;
}

/**
 * Watches a client for a connection that does not come about: gRPC waits without end for the first word of whoever has
 * taken one, which a process that hangs, or a proxy before nobody, never says.
 * @param patienceMs how long it may take.
 * @param onStuck called where it takes longer: what waits for this client waits in vain.
 */
export function watchConnecting(client: Client, patienceMs: number, onStuck: () => void): Connecting {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const isConnecting = () => {
    const state = client.getChannel().getConnectivityState(false);
    return state === connectivityState.CONNECTING || state === connectivityState.IDLE;
  };
  const look = (found: number) => {
    if (timer || !isConnecting()) return;
    timer = setTimeout(() => {
      timer = undefined;
      if (found < LOOKS) look(found + 1);
      else if (isConnecting()) onStuck();
    }, patienceMs / LOOKS);
    timer.unref();
  };
  return { look: () => look(1), end: () => clearTimeout(timer) };
}
