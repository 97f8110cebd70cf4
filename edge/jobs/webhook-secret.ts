import { fromBase64 } from '../base64.ts';

const PREFIX = 'whsec_';

/**
 * `whsec_` and base64, as Standard Webhooks writes secrets, are those bytes; any other text is its own.
 * @throws Error where what follows is no base64 of 24 to 64 bytes.
 */
export function secretBytes(secret: string): Uint8Array<ArrayBuffer> {
  if (!secret.startsWith(PREFIX)) return new TextEncoder().encode(secret);
  const bytes = fromBase64(secret.slice(PREFIX.length));
  if (typeof bytes !== 'string' && bytes.length >= 24 && bytes.length <= 64) return new Uint8Array(bytes);
  throw new Error('expected base64 of 24 to 64 bytes after whsec_ for WEBHOOK_SECRET');
}
