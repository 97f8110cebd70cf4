import { type FileHandle, open, stat } from 'node:fs/promises';
import { CheckpointError } from './error.ts';
import { type Header, MAX_HEADER, MAX_TENSORS, parseHeader, type TensorEntry } from './header.ts';

/** Bytes of a header that the format allows, at most. */
const FORMATS_MAX_HEADER = 100_000_000n;

export interface SafetensorsFile extends Header {
  file: string;
}

/** A tensor in memory: floats as float32, integers as int32. */
export interface HostTensor {
  shape: number[];
  data: Float32Array | Int32Array;
}

/** Files whose headers are no good, so that none is parsed again for each request: by path, with what they were. */
const refused = new Map<string, { stamp: string; error: CheckpointError }>();
const MAX_REFUSED = 64;

/**
 * Reads the header of a safetensors file, and nothing else of it.
 * @throws CheckpointError naming the file, for anything that is not a sound safetensors file.
 */
export async function readSafetensors(file: string): Promise<SafetensorsFile> {
  return withFile(file, async (handle) => {
    const { size, mtimeMs, ctimeMs, ino } = await handle.stat();
    const stamp = [size, mtimeMs, ctimeMs, ino].join();
    const known = refused.get(file);
    if (known?.stamp === stamp) throw known.error;
    refused.delete(file);
    try {
      return { file, ...(await readHeader(handle)) };
    } catch (error) {
      const explained = explain(error, file);
      // A fault of the system may pass; a file that has just been written may be written again at the same time.
      const isSettled = !('code' in (error as Error)) && Date.now() - Math.max(mtimeMs, ctimeMs) > 1000;
      if (isSettled) {
        if (refused.size >= MAX_REFUSED) refused.delete(refused.keys().next().value!);
        refused.set(file, { stamp, error: explained });
      }
      throw explained;
    }
  });
}

/**
 * Reads the tensors of a small file, or those that are wanted, converted to float32 or int32.
 * @throws CheckpointError for bad files, and for integers beyond 32 bits.
 */
export async function readTensors(
  file: string,
  wanted: (name: string) => boolean = () => true,
): Promise<Map<string, HostTensor>> {
  return withFile(file, async (handle) => {
    const { tensors } = await readHeader(handle);
    const read = new Map<string, HostTensor>();
    for (const entry of tensors.filter(({ name }) => wanted(name)))
      read.set(entry.name, { shape: entry.shape, data: await readData(handle, entry) });
    return read;
  });
}

async function withFile<T>(file: string, use: (handle: FileHandle) => Promise<T>): Promise<T> {
  let handle: FileHandle | undefined;
  try {
    // Before opening: a named pipe would never open.
    if (!(await stat(file)).isFile()) throw new Error('Expected a file but received something else');
    handle = await open(file, 'r');
    return await use(handle);
  } catch (error) {
    throw explain(error, file);
  } finally {
    await handle?.close();
  }
}

function explain(error: unknown, file: string): CheckpointError {
  if (error instanceof CheckpointError) return error;
  // Node's own message repeats the path.
  const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
  const message = missing
    ? `Expected a safetensors file but received ${file}: there is no such file`
    : `${(error as Error).message}, in ${file}`;
  return new CheckpointError(message, { file, cause: error });
}

async function readHeader(handle: FileHandle): Promise<Header> {
  const { size } = await handle.stat();
  const start = await read(handle, 0, Math.min(64, size));
  rejectOtherFormats(start);
  if (size < 10) throw new Error(`Expected at least 10 bytes but received ${size}: the file is truncated`);
  const length = start.readBigUInt64LE(0);
  if (length < 2n) throw new Error(`Expected a header of at least 2 bytes but received ${length}`);
  if (length > BigInt(MAX_HEADER))
    throw new Error(
      length > FORMATS_MAX_HEADER
        ? `Expected safetensors but received something else, whose header would have ${length} bytes`
        : `Expected a header of at most ${MAX_HEADER} bytes, with at most ${MAX_TENSORS} tensors, but received ${length} bytes`,
    );
  if (length > BigInt(size - 8))
    throw new Error(`Expected a header within the file's ${size} bytes but received ${length}: truncated?`);
  return parseHeader(await read(handle, 8, Number(length)), size - 8 - Number(length));
}

/** Files that are often given in place of safetensors, by their first bytes. */
function rejectOtherFormats(start: Buffer): void {
  // Where a header begins with {, the bytes before it are its length, whatever they look like.
  if (start[8] === 0x7b) return;
  const convert = 'is not supported, as reading it can run code. Convert it to safetensors';
  const magic = start.toString('latin1', 0, 40);
  if (magic.startsWith('PK\x03\x04'))
    throw new Error(`Expected safetensors but received a zip: PyTorch's pickle ${convert}`);
  if (start[0] === 0x80 && start[1]! >= 2 && start[1]! <= 5)
    throw new Error(`Expected safetensors but received a pickle, which ${convert}`);
  if (magic.startsWith('GGUF')) throw new Error('Expected safetensors but received GGUF');
  if (magic.startsWith('version https://git-lfs'))
    throw new Error('Expected safetensors but received a Git LFS pointer. Fetch the file with: git lfs pull');
  if (magic.startsWith('\x89PNG') || magic.startsWith('\xff\xd8\xff') || /^RIFF.{4}WEBP/s.test(magic))
    throw new Error('Expected safetensors but received a picture');
  // A length in text would be absurd.
  if (start.length >= 8 && /^[\t\n\r\x20-\x7e]+$/.test(start.toString('latin1')))
    throw new Error('Expected safetensors but received text');
}

async function read(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) throw new Error(`Expected ${length} bytes at ${position} but received ${done}`);
    done += bytesRead;
  }
  return buffer;
}

async function readData(handle: FileHandle, entry: TensorEntry): Promise<Float32Array | Int32Array> {
  const { name, dtype, offset, bytes } = entry;
  const raw = await read(handle, offset, bytes);
  const view = new DataView(raw.buffer, raw.byteOffset, bytes);
  const floats = (size: number, get: (at: number) => number) =>
    Float32Array.from({ length: bytes / size }, (_, i) => get(i * size));
  const ints = (size: number, get: (at: number) => number | bigint) =>
    Int32Array.from({ length: bytes / size }, (_, i) => {
      const value = Number(get(i * size));
      if (value !== (value | 0)) throw new Error(`Expected 32-bit integers in ${name} but received ${value}`);
      return value;
    });
  switch (dtype) {
    case 'F32':
      return floats(4, (at) => view.getFloat32(at, true));
    case 'F64':
      return floats(8, (at) => view.getFloat64(at, true));
    case 'F16':
      return floats(2, (at) => halfToFloat(view.getUint16(at, true)));
    case 'BF16': {
      const word = new DataView(new ArrayBuffer(4));
      return floats(2, (at) => {
        word.setUint16(0, view.getUint16(at, true));
        return word.getFloat32(0);
      });
    }
    case 'I64':
      return ints(8, (at) => view.getBigInt64(at, true));
    case 'I32':
      return ints(4, (at) => view.getInt32(at, true));
    case 'U8':
    case 'BOOL':
      return ints(1, (at) => view.getUint8(at));
    default:
      throw new Error(`Expected F32, F64, F16, BF16, I64, I32, U8 or BOOL for ${name} but received ${dtype}`);
  }
}

/** IEEE 754 binary16 → a number. */
function halfToFloat(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const [exponent, fraction] = [(half >> 10) & 0x1f, half & 0x3ff];
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}
