import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Hub, type Repository, reasonOf } from './client.ts';
import { HubError } from './error.ts';
import type { HubFile } from './files.ts';

export interface DownloadOptions {
  /** Bytes that are there, as they come. */
  onBytes?: (done: number) => void;
  /** Times that a cut connection is taken up again without any byte having come. */
  retries?: number;
  /** Milliseconds before the first of them; twice as many before each further one. */
  pauseMs?: number;
  signal?: AbortSignal;
}

/**
 * Downloads a file by way of `target`.part, which stays where it is cut and is taken up again, in this call or in a
 * later one. `target` is there when all of it is, and hashes to what the hub says.
 * @throws HubError for another hash; the connection's error after the last try.
 */
export async function download(
  hub: Hub,
  from: Repository,
  file: HubFile,
  target: string,
  { onBytes = () => {}, retries = 5, pauseMs = 500, signal }: DownloadOptions = {},
): Promise<void> {
  // Of another revision's file nothing is taken up.
  const part = `${target}.${file.hash?.hex.slice(0, 12) ?? file.size}.part`;
  await mkdir(dirname(target), { recursive: true });
  for (let failures = 0; ; ) {
    const before = await sizeOf(part);
    try {
      await append(hub, from, file, part, onBytes);
      break;
    } catch (error) {
      if (error instanceof HubError || signal?.aborted) throw error;
      failures = (await sizeOf(part)) > before ? 0 : failures + 1;
      if (failures > retries || retries === 0) throw cut(error, from, file);
      await sleep(pauseMs * 2 ** failures, undefined, { signal });
    }
  }
  await rename(part, target);
}

/** Whether `target` is the hub's file already. */
export async function isSame(file: HubFile, target: string): Promise<boolean> {
  if (!file.hash || (await sizeOf(target)) !== file.size) return false;
  const hash = hasher(file);
  await hashFile(hash, target);
  return hash.digest('hex') === file.hash.hex;
}

async function append(
  hub: Hub,
  from: Repository,
  file: HubFile,
  part: string,
  onBytes: (done: number) => void,
): Promise<void> {
  let done = await sizeOf(part);
  if (done > file.size) done = 0;
  let hash = hasher(file);
  if (done > 0) await hashFile(hash, part);
  onBytes(done);
  const handle = await open(part, 'a');
  try {
    if (done < file.size) {
      const body = await hub.read(from, file.path, done);
      if (body.from === 0) {
        await handle.truncate();
        [done, hash] = [0, hasher(file)];
      }
      for await (const bytes of body.bytes) {
        done += bytes.length;
        if (done > file.size) break;
        hash.update(bytes);
        await handle.appendFile(bytes);
        onBytes(done);
      }
    }
    if (done < file.size) throw new Error(`${file.size} bytes were announced and ${done} came`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  const digest = hash.digest('hex');
  if (done === file.size && (!file.hash || digest === file.hash.hex)) return;
  await rm(part);
  const received = done > file.size ? `more than its ${file.size} bytes` : digest;
  throw new HubError(
    `Expected ${file.hash?.hex ?? file.size} for the hash of ${file.path} of ${from.repo} but received ${received}: it was damaged on its way, or changed; try again`,
  );
}

function hasher({ size, hash }: HubFile): Hash {
  return hash?.type === 'git' ? createHash('sha1').update(`blob ${size}\0`) : createHash('sha256');
}

async function hashFile(hash: Hash, path: string): Promise<void> {
  for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(piece);
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

function cut(error: unknown, { repo }: Repository, { path }: HubFile): HubError {
  return new HubError(
    `Expected all of ${path} of ${repo} but the connection failed (${reasonOf(error)}). What came is kept: run the command again to go on`,
    { cause: error },
  );
}
