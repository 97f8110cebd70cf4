import { z } from 'zod';

/** What a key may do. `read`: lists and one's own jobs; `generate`: images besides; `admin`: no route asks for it yet. */
export const scopes = ['read', 'generate', 'admin'] as const;
export type Scope = (typeof scopes)[number];

const apiKey = z.strictObject({
  /** Who it belongs to: in the log, and what jobs, cache and limits go by. */
  name: z.string().regex(/^[\w.@-]{1,64}$/, '1 to 64 of A-Z a-z 0-9 _ . @ -'),
  /** Of the key itself, hexadecimal. Keys are 256 random bits: there is nothing for a slow hash to protect. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/, '64 hexadecimal digits'),
  scopes: z.array(z.enum(scopes)).min(1).default(['generate']),
  /** Requests that make work; default: the server's own limit. */
  requests_per_minute: z.int().min(1).max(1_000_000).optional(),
  /** Pixels of all images of a request, at most; default: the server's own limit. */
  pixels_per_request: z.int().min(64).optional(),
});

export type ApiKey = z.output<typeof apiKey>;

/**
 * Keys as the operator writes them: a JSON list.
 * @throws Error saying what is wrong, never with a hash in it.
 */
export function parseKeys(text: string, where: string): ApiKey[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Error(`Expected a JSON list of keys in ${where} but received no JSON`);
  }
  const { success, data, error } = z.array(apiKey).safeParse(json);
  if (!success) {
    const [issue] = error.issues;
    throw new Error(
      `Cannot read the keys in ${where}: ${issue!.path.join('.') || 'all of it'}: ${issue!.message}`,
    );
  }
  const twice = data.find(({ name }, i) => data.findIndex((other) => other.name === name) < i);
  if (twice) throw new Error(`Expected each name once in ${where} but received ${twice.name} twice`);
  return data;
}

/** The key that was presented, if it is one of these. Takes as long whichever it is. */
export async function findKey(keys: readonly ApiKey[], presented: string): Promise<ApiKey | undefined> {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(presented)));
  let found: ApiKey | undefined;
  for (const key of keys) if (sameBytes(digest, key.sha256)) found = key;
  return found;
}

/** Compares all bytes, wherever the first difference is. */
function sameBytes(bytes: Uint8Array, hex: string): boolean {
  let difference = 0;
  for (const [i, byte] of bytes.entries())
    difference |= byte ^ Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return difference === 0;
}
