import { createSecureContext } from 'node:tls';
import { type Renewal, stampOf, whenChanged } from '../../proto/renewal.ts';
import { type Access, readAccess } from './access.ts';
import type { Settings } from './table.ts';

export interface RenewalOptions extends Pick<Renewal, 'say' | 'everyMs'> {
  /** accessStamp, taken before tokens and certificates were read first. */
  since: string;
  onRenewed: (access: Access) => void;
}

/** What the files of tokens and certificates are now. */
export function accessStamp(settings: Settings): string {
  return stampOf(filesOf(settings));
}

/**
 * Reads tokens and certificates again when their files have changed. What cannot be read, or does not fit together,
 * changes nothing.
 * @returns what ends it.
 */
export function renewAccess(settings: Settings, { onRenewed, ...renewal }: RenewalOptions): () => void {
  return whenChanged({
    ...{ ...renewal, files: filesOf(settings), what: 'tokens and certificates' },
    renew() {
      const access = readAccess(settings);
      // A certificate whose key is yet to be written.
      if (access.tls) createSecureContext({ cert: access.tls.cert, key: access.tls.key });
      onRenewed(access);
    },
  });
}

function filesOf({ token_file, tls_cert, tls_key, tls_client_ca }: Settings): string[] {
  return [token_file, tls_cert, tls_key, tls_client_ca].filter((file) => file !== undefined);
}
