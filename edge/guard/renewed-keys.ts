import { readFileSync } from 'node:fs';
import { type Renewal, whenChanged } from '../when-changed.ts';
import { type ApiKey, parseKeys } from './keys.ts';

export interface RenewedKeysOptions extends Pick<Renewal, 'say' | 'everyMs'> {
  /** API_KEYS_FILE; none: nothing is looked at. */
  file: string | undefined;
}

/**
 * Reads the file of keys again when it has changed, into what stands before every route: requests that come from then on
 * are held against it. One without keys changes nothing, as it would let everybody in.
 * @returns what ends it.
 */
export function renewKeys(
  guard: { keys: readonly ApiKey[] | undefined },
  { file, ...renewal }: RenewedKeysOptions,
): () => void {
  if (!file) return () => {};
  return whenChanged({
    ...{ ...renewal, files: [file], what: 'keys' },
    renew() {
      const keys = parseKeys(readFileSync(file, 'utf8'), 'API_KEYS_FILE');
      if (keys.length === 0)
        throw new Error('Expected one key at least in API_KEYS_FILE, as without any everybody is let in');
      guard.keys = keys;
    },
  });
}
