import { mkdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { Hub, type HubOptions } from './client.ts';
import { type DownloadOptions, download, isSame } from './download.ts';
import { HubError } from './error.ts';
import { folderFiles, type HubFile, isSafePath, parseWanted } from './files.ts';

export interface PullOptions extends HubOptions, Pick<DownloadOptions, 'retries' | 'pauseMs'> {
  /** Branch, tag or commit; default `main`. */
  revision?: string;
  /** Of several weights those: `fp16`. */
  variant?: string;
  onProgress?: (progress: PullProgress) => void;
}

export interface PullProgress {
  /** The file that is coming. */
  path: string;
  /** Bytes of all files. */
  done: number;
  total: number;
}

/** Where a pulled folder came from: written into it. */
const ORIGIN = '.latent-edge-origin.json';

/**
 * Brings a model from the hub into a folder of models: the files that a folder in diffusers layout is read from, or one
 * checkpoint. What was cut is taken up again. The model appears when all of it is there and hashes to what the hub says.
 * @param wanted `OWNER/NAME` or `OWNER/NAME/FILE.safetensors`
 * @param store folder of models; made where it is missing.
 * @returns where the model is: store/NAME, store/FILE.safetensors.
 * @throws HubError
 */
export async function pull(wanted: string, store: string, options: PullOptions = {}): Promise<string> {
  const { repo, file } = parseWanted(wanted);
  const { revision = 'main', variant } = options;
  const hub = new Hub(options);
  const listed = await hub.files({ repo, revision });
  const name = file === undefined ? repo.split('/')[1]! : basename(file);
  const target = join(store, name);
  // Beside its target, on the same file system; hidden, so that it is no model yet.
  const staging = join(store, `.${name}.pull`);
  const place = (folder: string, path: string) => join(folder, file === undefined ? path : '');
  const files = file === undefined ? folderFiles(listed, repo, variant) : [oneFile(listed, file, repo)];
  const before = file === undefined ? await readOrigin(target, repo) : [];

  const isHere = new Set<HubFile>();
  for (const one of files) if (await isSame(one, place(target, one.path))) isHere.add(one);
  if (file !== undefined && isHere.size === 0 && (await exists(target)))
    throw new HubError(`Expected no file at ${target}, or the one in ${repo}, but found another`);
  const total = files.reduce((sum, { size }) => sum + size, 0);
  await mkdir(store, { recursive: true });
  await checkSpace(
    store,
    [...files].filter((one) => !isHere.has(one)),
  );
  let done = 0;
  for (const one of files) {
    const onBytes = (bytes: number) => options.onProgress?.({ path: one.path, done: done + bytes, total });
    const staged = join(staging, one.path);
    if (!isHere.has(one) && !(await isSame(one, staged)))
      await download(hub, { repo, revision }, one, staged, { ...options, onBytes });
    onBytes(one.size);
    done += one.size;
  }
  // model_index.json is the last of them: with it the folder is a model.
  for (const one of files) {
    if (isHere.has(one)) continue;
    await mkdir(dirname(place(target, one.path)), { recursive: true });
    await rename(join(staging, one.path), place(target, one.path));
  }
  if (file === undefined) {
    const paths = files.map(({ path }) => path);
    for (const path of before) if (!paths.includes(path)) await rm(join(target, path), { force: true });
    const origin = { repo, revision, variant, files: paths };
    await writeFile(join(target, ORIGIN), `${JSON.stringify(origin, null, 2)}\n`);
  }
  await rm(staging, { recursive: true, force: true });
  return target;
}

function oneFile(files: readonly HubFile[], path: string, repo: string): HubFile {
  const found = files.find((candidate) => candidate.path === path);
  if (found) return found;
  const others = files.filter((candidate) => candidate.path.endsWith('.safetensors')).map(({ path }) => path);
  throw new HubError(
    `Expected ${path} in ${repo} but found ${others.slice(0, 10).join(', ') || 'no safetensors file'}`,
  );
}

/**
 * What was pulled into a folder before. Files of two models are not mixed, and a folder that was not pulled is not
 * written to.
 */
async function readOrigin(target: string, repo: string): Promise<string[]> {
  if (!(await exists(target))) return [];
  const text = await readFile(join(target, ORIGIN), 'utf8').catch(() => '{}');
  const { repo: received, files = [] } = parseOrigin(text);
  if (received === repo) return files.filter(isSafePath);
  const what = received ? `one from ${received}` : 'one that was not pulled';
  throw new HubError(
    `Expected no folder at ${target}, or one pulled from ${repo}, but found ${what}: choose another --dir`,
  );
}

const originFields = z.object({ repo: z.string(), files: z.array(z.string()) }).partial();

function parseOrigin(text: string): z.output<typeof originFields> {
  try {
    return originFields.parse(JSON.parse(text));
  } catch {
    return {};
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

/** @throws HubError before anything is downloaded that has no place. */
async function checkSpace(store: string, files: HubFile[]): Promise<void> {
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  const { bavail, bsize } = await statfs(store);
  const free = bavail * bsize;
  if (bytes > free)
    throw new HubError(
      `Expected ${(bytes / 2 ** 30).toFixed(1)} GiB free in ${store} but found ${(free / 2 ** 30).toFixed(1)} GiB`,
    );
}
