interface NodeBuffer {
  from(bytes: ArrayBufferLike, offset: number, length: number): { toString(encoding: 'base64'): string };
  from(text: string, encoding: 'base64'): Uint8Array;
}

const node = (globalThis as { Buffer?: NodeBuffer }).Buffer;

/** Bytes as base64, by the fastest means this runtime has. */
export function toBase64(bytes: Uint8Array): string {
  if (node) return node.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
  let binary = '';
  for (let i = 0; i < bytes.length; i += 0x8000) {
    binary += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  }
  return btoa(binary);
}

/**
 * The bytes of base64 in its own alphabet, padded, without white space (RFC 4648, sections 3 and 4).
 * @returns the bytes, or in words what is wrong with the text.
 */
export function fromBase64(text: string): Uint8Array | string {
  const odd = /[^A-Za-z0-9+/]/.exec(text);
  const padding = odd?.[0] === '=' && /^={1,2}$/.test(text.slice(odd.index)) ? text.length - odd.index : 0;
  if (odd && padding === 0) return `${describe(odd[0])} at ${odd.index}, which base64 has not`;
  if (text.length % 4 !== 0) return `base64 of ${text.length} characters, which is no multiple of 4`;
  if (node) return node.from(text, 'base64');
  const binary = atob(text);
  // Not `from` with a function, which takes many times as long.
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function describe(character: string): string {
  if (/\s/.test(character)) return 'white space';
  if (/[-_]/.test(character)) return `${character}, of the URL-safe alphabet,`;
  return JSON.stringify(character);
}
