import { type Client, connectivityState } from '@grpc/grpc-js';
import { unreachable } from './failure.ts';

/** Looks that find it connecting, one after the other: where this process stood still itself, one look is late. */
const LOOKS = 5;

export interface Connecting<C extends Client> {
  /** For one call. @throws SidecarError where it would wait in vain. */
  client: () => C;
  close: () => void;
}

/**
 * A client that is opened anew where a connection does not come about: gRPC waits without end for the first word of
 * whoever has taken one, which a process that hangs, or a proxy before nobody, never says. Calls that wait for it fail
 * then, and so do all others at once, until there is a connection: another sidecar may do them.
 * @param patienceMs how long a connection may take.
 */
export function connecting<C extends Client>(open: () => C, patienceMs: number): Connecting<C> {
  let client = open();
  /** Whether the one before has waited in vain, and this one has no connection either. */
  let isStuck = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const isConnecting = () => {
    const state = client.getChannel().getConnectivityState(isStuck);
    const is = state === connectivityState.CONNECTING || state === connectivityState.IDLE;
    isStuck &&= is;
    return is;
  };
  const look = (found: number) => {
    if (!isConnecting() || timer) return;
    timer = setTimeout(() => {
      timer = undefined;
      if (found < LOOKS) look(found + 1);
      else if (isConnecting()) renew();
    }, patienceMs / LOOKS);
    timer.unref();
  };
  const renew = () => {
    const before = client;
    client = open();
    isStuck = true;
    // No call will make it connect.
    look(1);
    before.close();
  };
  return {
    client() {
      look(1);
      if (isStuck) throw unreachable();
      return client;
    },
    close() {
      clearTimeout(timer);
      client.close();
    },
  };
}
