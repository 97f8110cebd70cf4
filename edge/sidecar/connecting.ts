import { type Client, connectivityState } from '@grpc/grpc-js';
import { unreachable } from './failure.ts';

/** Looks that find it connecting, one after the other: where this process stood still itself, one look is late. */
const LOOKS = 5;
/** Times the first patience: what it grows to at most. */
const MOST = 4;

export interface Connecting<C extends Client> {
  /** For one call. @throws SidecarError where it would wait in vain, or is closed. */
  client: () => C;
  close: () => void;
}

interface Opened<C extends Client> {
  client: C;
  /** Ends its connections too that have not come about. */
  close: () => void;
}

/**
 * A client that is opened anew where a connection does not come about: gRPC waits without end for the first word of
 * whoever has taken one, which a process that hangs, or a proxy before nobody, never says. Calls that wait for it fail
 * then, and so do all others at once, until there is a connection: another sidecar may do them.
 * @param patienceMs how long a connection may take; twice as long after one that did not come about, up to four times:
 * whoever is asked then had hung before, and calls do not wait.
 */
export function connecting<C extends Client>(open: () => Opened<C>, patienceMs: number): Connecting<C> {
  let opened = open();
  /** Whether the one before has waited in vain, and this one has no connection either. */
  let isStuck = false;
  let patience = patienceMs;
  let isClosed = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const isConnecting = () => {
    const state = opened.client.getChannel().getConnectivityState(isStuck);
    const is = state === connectivityState.CONNECTING || state === connectivityState.IDLE;
    isStuck &&= is;
    if (!isStuck) patience = patienceMs;
    return is;
  };
  const look = (found: number) => {
    if (!isConnecting() || timer) return;
    timer = setTimeout(() => {
      timer = undefined;
      if (found < LOOKS) look(found + 1);
      else if (isConnecting()) renew();
    }, patience / LOOKS);
    timer.unref();
  };
  const renew = () => {
    const before = opened;
    opened = open();
    patience = Math.min(2 * patience, MOST * patienceMs);
    isStuck = true;
    // No call will make it connect.
    look(1);
    before.close();
  };
  return {
    client() {
      if (isClosed) throw unreachable();
      look(1);
      if (isStuck) throw unreachable();
      return opened.client;
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
      opened.close();
    },
  };
}
