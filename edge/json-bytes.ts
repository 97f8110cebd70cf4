import { toBase64 } from './base64.ts';

/** A file that stands in JSON as text: what is before it, then its bytes in base64. */
export class FileText {
  readonly bytes: Uint8Array;
  readonly before: string;
  constructor(bytes: Uint8Array, before = '') {
    this.bytes = bytes;
    this.before = before;
  }

  /** Characters, and bytes: base64 is ASCII, and so is what stands before it. */
  get length(): number {
    return this.before.length + 4 * Math.ceil(this.bytes.length / 3);
  }
}

/**
 * Bytes of a file that become text at a time, a multiple of 3: longer strings get pages of their own from the system
 * and lose them again, which takes longer than all the rest.
 */
const PIECE = 49_152;

/**
 * JSON in UTF-8 of a value with files in it, between two texts. Files, most of a reply, are written where they are to
 * be, piece by piece, and never stand in a string as a whole.
 */
export function jsonBytes(value: unknown, before = '', after = ''): Uint8Array<ArrayBuffer> {
  const mark = crypto.randomUUID();
  const files: FileText[] = [];
  const json = JSON.stringify(value, (_, each) => {
    if (!(each instanceof FileText)) return each;
    files.push(each);
    return mark;
  });
  const encoder = new TextEncoder();
  const between = `${before}${json}${after}`.split(mark).map((part) => encoder.encode(part));
  const length = [...between, ...files].reduce((sum, part) => sum + part.length, 0);
  const all = new Uint8Array(length);
  let at = 0;
  const write = (ascii: string) => {
    at += encoder.encodeInto(ascii, all.subarray(at)).written;
  };
  for (const [i, part] of between.entries()) {
    all.set(part, at);
    at += part.length;
    const file = files[i];
    if (!file) continue;
    write(file.before);
    for (let from = 0; from < file.bytes.length; from += PIECE)
      write(toBase64(file.bytes.subarray(from, from + PIECE)));
  }
  return all;
}
