import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { elements } from '../graph/signature.ts';
import type { WeightSource } from '../native.ts';
import { dtypeBytes } from './header.ts';

const CHUNK = 2 ** 20;

type FileSource = Extract<WeightSource, { file: string }>;

/** Where hashes are kept between runs, by the files' paths, sizes and times. */
export function hashCacheFile(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'latent-edge', 'hashes.json');
}

/**
 * What a model is, whatever its files are called and however they are split: SHA-256 over the names, types, shapes
 * and bytes of all tensors, in order of their names. Reads all files once; then it comes from the cache.
 * @param parts tensors by component.
 * @returns 64 hexadecimal digits.
 */
export async function modelHash(
  parts: Record<string, readonly WeightSource[]>,
  { cacheFile = hashCacheFile() }: { cacheFile?: string } = {},
): Promise<string> {
  const tensors = Object.entries(parts).flatMap(([part, sources]) =>
    sources.map((source) => ({ key: `${part}/${source.name}`, source })),
  );
  tensors.sort((a, b) => (a.key < b.key ? -1 : 1));
  const stamp = await stampOf(tensors.map(({ source }) => source));
  const cache = await readCache(cacheFile);
  if (stamp && cache[stamp]) return cache[stamp];
  const hash = createHash('sha256');
  for (const { key, source } of tensors) {
    hash.update(`${key}\0${source.dtype}\0${source.shape.join(',')}\0`);
    if ('data' in source)
      hash.update(new Uint8Array(source.data.buffer, source.data.byteOffset, source.data.byteLength));
    else if (source.transposed) hash.update(await untransposed(source));
    else {
      const bytes = dtypeBytes[source.dtype]! * elements(source.shape);
      for await (const piece of pieces(source.file, source.offset, bytes)) hash.update(piece);
    }
  }
  const digest = hash.digest('hex');
  if (stamp) await writeCache(cacheFile, { ...(await readCache(cacheFile)), [stamp]: digest });
  return digest;
}

/** Identifies the files without reading them; undefined when some tensors are in memory. */
async function stampOf(sources: readonly WeightSource[]): Promise<string | undefined> {
  if (sources.some((source) => 'data' in source)) return undefined;
  const files = [...new Set(sources.map((source) => ('file' in source ? source.file : '')))].sort();
  const stats = await Promise.all(files.map(async (file) => ({ file, ...(await stat(file)) })));
  const hash = createHash('sha256');
  for (const { file, size, mtimeMs } of stats) hash.update(`${file}\0${size}\0${mtimeMs}\0`);
  return hash.digest('hex');
}

/** The bytes of a range of a file, a piece at a time; a piece is good until the next one is asked for. */
async function* pieces(file: string, offset: number, bytes: number): AsyncGenerator<Buffer> {
  const handle = await open(file, 'r');
  try {
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK, bytes));
    for (let done = 0; done < bytes; ) {
      const { bytesRead } = await handle.read(buffer, 0, Math.min(CHUNK, bytes - done), offset + done);
      if (bytesRead === 0)
        throw new Error(`Expected ${bytes} bytes at ${offset} but the file ends, in ${file}`);
      yield buffer.subarray(0, bytesRead);
      done += bytesRead;
    }
  } finally {
    await handle.close();
  }
}

/** The bytes of a matrix [N, K] that its file has as [K, N]. */
async function untransposed({ file, offset, shape, dtype }: FileSource): Promise<Buffer> {
  const [N, K] = shape as [number, number];
  const size = dtypeBytes[dtype]!;
  const stored = Buffer.alloc(N * K * size);
  let done = 0;
  for await (const piece of pieces(file, offset, stored.length)) done += piece.copy(stored, done);
  const matrix = Buffer.alloc(stored.length);
  for (let n = 0; n < N; n++)
    for (let k = 0; k < K; k++)
      stored.copy(matrix, (n * K + k) * size, (k * N + n) * size, (k * N + n + 1) * size);
  return matrix;
}

async function readCache(file: string): Promise<Record<string, string>> {
  try {
    const cache: unknown = JSON.parse(await readFile(file, 'utf8'));
    return typeof cache === 'object' && cache !== null ? (cache as Record<string, string>) : {};
  } catch {
    return {};
  }
}

/** A cache that cannot be written costs time, nothing else. */
async function writeCache(file: string, cache: Record<string, string>): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true });
    const part = `${file}.${process.pid}.part`;
    await writeFile(part, JSON.stringify(cache));
    await rename(part, file);
  } catch {}
}
