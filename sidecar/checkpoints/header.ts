/**
 * Bytes of the JSON header, at most. The format allows 100 MB, which would take many seconds to check; those of real
 * models stay below 1 MB.
 */
export const MAX_HEADER = 16 * 2 ** 20;

/** Tensors of a file, at most, and entries of its metadata: tens of times those of the largest models. */
export const MAX_TENSORS = 100_000;

/** Bytes of an element, by safetensors' names of types. */
export const dtypeBytes: Readonly<Record<string, number>> = {
  ...{ BOOL: 1, U8: 1, I8: 1, F8_E4M3: 1, F8_E5M2: 1, F8_E8M0: 1 },
  ...{ U16: 2, I16: 2, F16: 2, BF16: 2 },
  ...{ U32: 4, I32: 4, F32: 4, U64: 8, I64: 8, F64: 8, C64: 8 },
};

/** A tensor in a file: where its bytes lie. */
export interface TensorEntry {
  name: string;
  dtype: string;
  shape: number[];
  /** Bytes from the start of the file. */
  offset: number;
  bytes: number;
}

export interface Header {
  tensors: TensorEntry[];
  metadata: Record<string, string>;
}

/**
 * Parses a safetensors header that comes from anywhere. Ranges must cover the file exactly: no holes, no overlaps.
 * @param json the header's bytes, without the length before it.
 * @param dataBytes bytes of the file after the header.
 * @throws Error saying what was expected and what came; the caller adds the file.
 */
export function parseHeader(json: Uint8Array, dataBytes: number): Header {
  const dataStart = 8 + json.length;
  const root = parseJson(json);
  const tensors: TensorEntry[] = [];
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(root)) {
    if (name === '__metadata__') metadata = parseMetadata(value);
    else tensors.push(parseEntry(name, value, dataStart));
  }
  if (tensors.length > MAX_TENSORS) throw tooMany();
  checkCoverage(tensors, dataStart, dataBytes);
  return { tensors, metadata };
}

function parseJson(bytes: Uint8Array): Record<string, unknown> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Error('Expected a header in UTF-8 but received other bytes');
  }
  if (!text.startsWith('{'))
    throw new Error(`Expected a header that begins with { but received ${quote(text)}`);
  checkStructure(text);
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new Error(`Expected a header of JSON but received something else: ${(error as Error).message}`);
  }
}

/**
 * What JSON.parse lets pass: deep nesting, many entries, which cost memory, and duplicate keys, of which it keeps the
 * last. One pass; it ends where there are too many.
 */
function checkStructure(text: string): void {
  const [quotation, object, objectEnd, list, listEnd] = [0x22, 0x7b, 0x7d, 0x5b, 0x5d];
  const open: (Set<string> | undefined)[] = [];
  // The header itself; of each tensor its entry and two lists; the metadata.
  let left = 3 * MAX_TENSORS + 2;
  for (let at = 0; at < text.length; at++) {
    const c = text.charCodeAt(at);
    if (c === object || c === list) {
      // The header, a tensor's entry, its list.
      if (open.push(c === object ? new Set() : undefined) > 3)
        throw new Error('Expected a header nested 3 levels deep but received deeper');
      if (--left < 0) throw tooMany();
    } else if (c === objectEnd || c === listEnd) open.pop();
    else if (c === quotation) {
      const start = at + 1;
      at = stringEnd(text, start);
      if (!colonFollows(text, at + 1)) continue;
      const raw = text.slice(start, at);
      const key = raw.includes('\\') ? unescaped(raw) : raw;
      const keys = open.at(-1);
      if (keys?.has(key)) throw new Error(`Expected every key once but received ${quote(key)} twice`);
      keys?.add(key);
      // One more in the header itself: the metadata.
      if (keys && keys.size > MAX_TENSORS + 1) throw tooMany();
    }
  }
}

function tooMany(): Error {
  return new Error(
    `Expected at most ${MAX_TENSORS} tensors, or entries of metadata, in a header of at most ${MAX_HEADER} bytes but received more`,
  );
}

/** Where the quote is that ends the string whose first character is at `at`. */
function stringEnd(text: string, at: number): number {
  const [quotation, backslash] = [0x22, 0x5c];
  for (; at < text.length; at++) {
    const c = text.charCodeAt(at);
    if (c === quotation) break;
    if (c === backslash) at++;
  }
  if (at >= text.length) throw new Error('Expected a header of JSON but received a string without an end');
  return at;
}

function colonFollows(text: string, at: number): boolean {
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at++;
  return text[at] === ':';
}

function unescaped(inner: string): string {
  try {
    return JSON.parse(`"${inner}"`) as string;
  } catch {
    throw new Error(`Expected a header of JSON but received the string "${inner.slice(0, 80)}"`);
  }
}

function parseMetadata(value: unknown): Record<string, string> {
  if (!isObject(value) || Object.values(value).some((v) => typeof v !== 'string'))
    throw new Error(`Expected strings in __metadata__ but received ${quote(value)}`);
  return value as Record<string, string>;
}

function parseEntry(name: string, value: unknown, dataStart: number): TensorEntry {
  const fail = (expected: string, received: unknown): never => {
    throw new Error(`Expected ${expected} for tensor ${quote(name)} but received ${quote(received)}`);
  };
  if (!isObject(value)) return fail('dtype, shape and data_offsets', value);
  const { dtype, shape, data_offsets: range, ...others } = value;
  if (Object.keys(others).length) fail('dtype, shape and data_offsets only', Object.keys(others)[0]);
  const size = typeof dtype === 'string' && Object.hasOwn(dtypeBytes, dtype) ? dtypeBytes[dtype]! : 0;
  if (!size) fail(`a dtype of ${Object.keys(dtypeBytes).join(', ')}`, dtype);
  if (!isSizes(shape)) return fail('a shape of whole numbers from 0 to 2^53, at most 64', shape);
  if (!isSizes(range) || range.length !== 2) return fail('data_offsets of two whole numbers', range);
  const [begin, end] = range as [number, number];
  if (end < begin) fail('data_offsets that end after they begin', range);
  const bytes = shape.reduce((a, b) => a * BigInt(b), BigInt(size));
  if (bytes !== BigInt(end - begin)) fail(`${bytes} bytes (${dtype} [${shape.join(', ')}])`, end - begin);
  return { name, dtype: dtype as string, shape, offset: dataStart + begin, bytes: end - begin };
}

function checkCoverage(tensors: TensorEntry[], dataStart: number, dataBytes: number): void {
  let end = dataStart;
  for (const { name, offset, bytes } of tensors.toSorted(
    (a, b) => a.offset - b.offset || a.bytes - b.bytes,
  )) {
    if (offset !== end)
      throw new Error(
        `Expected tensor ${quote(name)} at byte ${end - dataStart} of the data but received ${offset - dataStart}: ` +
          (offset < end ? 'it overlaps another' : 'there is a hole before it'),
      );
    end = offset + bytes;
  }
  if (end - dataStart !== dataBytes)
    throw new Error(
      `Expected ${end - dataStart} bytes of data but received ${dataBytes}` +
        (end - dataStart > dataBytes ? ': the file is truncated' : ''),
    );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.length <= 64 && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}
