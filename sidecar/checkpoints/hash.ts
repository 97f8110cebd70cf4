import { createHash, randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { setImmediate as others } from 'node:timers/promises';
import { elements } from '../graph/signature.ts';
import type { WeightSource } from '../native.ts';
import { dtypeBytes } from './header.ts';

/** Bytes that are read and hashed at once: about a millisecond, so that hashing holds up nothing else. */
const CHUNK = 2 ** 20;

/** Elements of a matrix that are moved at once. */
const MOVED = 2 ** 16;

/** Hashes that are kept. */
const MAX_KEPT = 256;

/** Tensors by component. */
export type Parts = Readonly<Record<string, readonly WeightSource[]>>;

type Range = Extract<WeightSource, { file: string }> & { handle: FileHandle };

/** Where hashes are kept between runs, by the files' paths, sizes and times. */
export function hashCacheFile(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'latent-edge', 'hashes.json');
}

/**
 * What a model is, whatever its files are called and however they are split: SHA-256 over the names, types, shapes
 * and bytes of all tensors, in order of their names, and which are kept in 8 bits. Reads all files once; then it comes
 * from the cache.
 * @returns 64 hexadecimal digits.
 */
export async function modelHash(
  parts: Parts,
  { cacheFile = hashCacheFile() }: { cacheFile?: string } = {},
): Promise<string> {
  const tensors = inOrder(parts);
  const stamp = await stampOf(tensors);
  const cache = await readCache(cacheFile);
  if (stamp && cache[stamp]) return cache[stamp];
  const hash = createHash('sha256');
  const files = new Map<string, FileHandle>();
  try {
    for (const { key, source } of tensors) {
      hash.update(`${key}\0${source.dtype}\0${source.shape.join(',')}\0${source.int8 ? 'int8\0' : ''}`);
      if ('data' in source) {
        hash.update(new Uint8Array(source.data.buffer, source.data.byteOffset, source.data.byteLength));
        continue;
      }
      if (!files.has(source.file)) files.set(source.file, await open(source.file, 'r'));
      const range = { handle: files.get(source.file)!, ...source };
      for await (const piece of source.transposed ? untransposed(range) : pieces(range)) hash.update(piece);
    }
  } finally {
    await Promise.all([...files.values()].map((handle) => handle.close()));
  }
  const digest = hash.digest('hex');
  // Files that have changed meanwhile have another one.
  if (stamp && stamp === (await stampOf(tensors))) await keep(cacheFile, stamp, digest);
  return digest;
}

/** What `knownHashes` has a model's hash by, until its files change; undefined: it has it by nothing. */
export const hashStamp = (parts: Parts): Promise<string | undefined> => stampOf(inOrder(parts));

/** Hashes that have been computed, here or in an earlier run, by their stamps. */
export const knownHashes = (cacheFile = hashCacheFile()): Promise<Record<string, string>> =>
  readCache(cacheFile);

function inOrder(parts: Parts) {
  const tensors = Object.entries(parts).flatMap(([part, sources]) =>
    sources.map((source) => ({ key: `${part}/${source.name}`, source })),
  );
  return tensors.sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** Identifies the tensors in their files without reading them; undefined when some are in memory. */
async function stampOf(
  tensors: readonly { key: string; source: WeightSource }[],
): Promise<string | undefined> {
  const sources = tensors.map(({ source }) => source);
  if (sources.some((source) => 'data' in source)) return undefined;
  const files = [...new Set(sources.map((source) => ('file' in source ? source.file : '')))].sort();
  const stats = await Promise.all(files.map(async (file) => ({ file, ...(await stat(file)) })));
  const hash = createHash('sha256');
  for (const { file, size, mtimeMs } of stats) hash.update(`${file}\0${size}\0${mtimeMs}\0`);
  for (const { key, source } of tensors)
    if ('file' in source) {
      const { file, offset, dtype, shape, transposed = false, int8 } = source;
      hash.update(`${[key, file, offset, dtype, shape, transposed, ...(int8 ? ['int8'] : [])].join('\0')}\0`);
    }
  return hash.digest('hex');
}

/** The bytes of a range of a file, a piece at a time; a piece is good until the next one is asked for. */
async function* pieces({ handle, file, offset, shape, dtype }: Range): AsyncGenerator<Buffer> {
  const bytes = dtypeBytes[dtype]! * elements(shape);
  const buffer = Buffer.allocUnsafe(Math.min(CHUNK, bytes));
  for (let done = 0; done < bytes; ) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(CHUNK, bytes - done), offset + done);
    if (bytesRead === 0)
      throw new Error(`Expected ${bytes} bytes at ${offset} but the file ends, in ${file}`);
    yield buffer.subarray(0, bytesRead);
    done += bytesRead;
  }
}

/** The bytes of a matrix [N, K] that its file has as [K, N], some rows at a time. */
async function* untransposed(range: Range): AsyncGenerator<Buffer> {
  const [N, K] = range.shape as [number, number];
  const size = dtypeBytes[range.dtype]!;
  const stored = Buffer.alloc(N * K * size);
  let done = 0;
  for await (const piece of pieces(range)) done += piece.copy(stored, done);
  const rows = Math.max(1, Math.floor(MOVED / K));
  for (let first = 0; first < N; first += rows) {
    const count = Math.min(rows, N - first);
    const moved = Buffer.alloc(count * K * size);
    for (let n = 0; n < count; n++)
      for (let k = 0; k < K; k++) {
        const from = (k * N + first + n) * size;
        stored.copy(moved, (n * K + k) * size, from, from + size);
      }
    yield moved;
    await others();
  }
}

async function readCache(file: string): Promise<Record<string, string>> {
  try {
    const cache: unknown = JSON.parse(await readFile(file, 'utf8'));
    return typeof cache === 'object' && cache !== null ? (cache as Record<string, string>) : {};
  } catch {
    return {};
  }
}

/** Adds to the cache, of which the newest stay. One that cannot be written costs time, nothing else. */
async function keep(file: string, stamp: string, digest: string): Promise<void> {
  const part = `${file}.${randomUUID()}.part`;
  try {
    const older = Object.entries(await readCache(file)).filter(([key]) => key !== stamp);
    const cache = Object.fromEntries([...older.slice(1 - MAX_KEPT), [stamp, digest]]);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(part, JSON.stringify(cache));
    await rename(part, file);
  } catch {
    await rm(part, { force: true }).catch(() => {});
  }
}
