import { readFileSync } from 'node:fs';
import { type Renewal, stampOf, whenChanged } from '../../proto/renewal.ts';
import type { GuardOptions } from './guard.ts';
import { type ApiKey, parseKeys } from './keys.ts';

export interface RenewedKeysOptions extends Pick<Renewal, 'say' | 'everyMs'> {
  /** API_KEYS_FILE; none: nothing is looked at. */
  file: string | undefined;
  /** stampOf it, taken before it was read first; default: what it is now. */
  since?: string | undefined;
}

/** Who names a file wants keys to be asked for: where it has none, nobody is let in. */
function keysIn(file: string): ApiKey[] | undefined {
  const keys = parseKeys(readFileSync(file, 'utf8'), 'API_KEYS_FILE');
  return keys.length > 0 ? keys : undefined;
}

/**
 * What stands before every route, with the keys of API_KEYS_FILE.
 * @throws Error saying what is wrong in it.
 */
export function withKeysFile<G extends Pick<GuardOptions, 'keys' | 'allowedHosts'>>(
  guard: G,
  file: string,
): G {
  const { allowedHosts } = guard;
  // Who has to know a key gains nothing by pointing a name here.
  return {
    ...guard,
    keys: keysIn(file),
    allowedHosts: allowedHosts?.length === 0 ? undefined : allowedHosts,
  };
}

/**
 * Reads the file of keys again when it has changed, into what stands before every route: requests that come from then on
 * are held against it. One that cannot be read changes nothing.
 * @returns what ends it.
 */
export function renewKeys(
  guard: { keys: readonly ApiKey[] | undefined },
  { file, since, ...renewal }: RenewedKeysOptions,
): () => void {
  if (!file) return () => {};
  const { say } = renewal;
  return whenChanged({
    ...{ ...renewal, files: [file], what: 'keys', since: since ?? stampOf([file]) },
    renew() {
      guard.keys = keysIn(file);
      if (!guard.keys) say(NO_KEYS);
    },
  });
}

export const NO_KEYS = 'nobody is let in, as API_KEYS_FILE has no keys';
