import { createSecureContext } from 'node:tls';
import { stampOf } from '../engine/until-changed.ts';
import { type Access, readAccess } from './access.ts';
import type { Settings } from './table.ts';

/** Milliseconds between looks at the files of tokens and certificates. */
const LOOK_MS = 5000;

export interface RenewalOptions {
  onRenewed: (access: Access) => void;
  /** One line, each time. */
  say: (line: string) => void;
  everyMs?: number;
}

/**
 * Reads tokens and certificates again when their files have changed, whoever changes them and however: in place, or by
 * the links that Kubernetes moves. What cannot be read, or does not fit together, changes nothing; it is looked at again.
 * @returns what ends it.
 */
export function renewAccess(
  settings: Settings,
  { onRenewed, say, everyMs = LOOK_MS }: RenewalOptions,
): () => void {
  const { token_file, tls_cert, tls_key, tls_client_ca } = settings;
  const files = [token_file, tls_cert, tls_key, tls_client_ca].filter((file) => file !== undefined);
  if (files.length === 0) return () => {};
  const stamp = async () => (await Promise.all(files.map(stampOf))).join('\n');
  let known: string | undefined;
  let complaint = '';
  const look = async () => {
    const now = await stamp();
    if (known === undefined) known = now;
    if (now === known) return;
    try {
      const access = readAccess(settings);
      // A certificate whose key is yet to be written.
      if (access.tls) createSecureContext({ cert: access.tls.cert, key: access.tls.key });
      onRenewed(access);
      known = now;
      complaint = '';
      say('tokens and certificates renewed');
    } catch (error) {
      const { message } = error as Error;
      if (message !== complaint) say(`tokens and certificates stay as they are: ${message}`);
      complaint = message;
    }
  };
  void look();
  const timer = setInterval(() => void look(), everyMs);
  timer.unref();
  return () => clearInterval(timer);
}
