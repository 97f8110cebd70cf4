import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join, sep } from 'node:path';
import { errors } from '../errors.ts';

/** An adapter of a request: what it is called, and how much of it is added. */
export interface AdapterRequest {
  name: string;
  scale: number;
}

/** The same with its file as it was when the request came. */
export interface AdapterChoice extends AdapterRequest {
  file: string;
  /** Size and time of the file: another adapter under the same name is another one. */
  stamp: string;
}

/**
 * The adapters of a request. A name is looked up among the files that are there, never joined to a path, so none leads
 * elsewhere.
 * @param folders with .safetensors files; of two of one name the first counts.
 * @param named other files, by name; they come before those.
 * @throws ServiceError adapter_not_found
 */
export async function findAdapters(
  adapters: readonly AdapterRequest[],
  folders: readonly string[],
  named: ReadonlyMap<string, string> = new Map(),
): Promise<AdapterChoice[]> {
  if (adapters.length === 0) return [];
  const found = await Promise.all(folders.map(filesIn));
  const files = new Map([...found.toReversed().flat(), ...named]);
  return Promise.all(
    adapters.map(async ({ name, scale }) => {
      const file = files.get(name);
      const info = file && (await stat(file).catch(() => undefined));
      if (!file || !info) throw errors.adapterNotFound(name, [...files.keys()].sort(), folders);
      return { name, scale, file, stamp: `${info.size} ${info.mtimeMs}` };
    }),
  );
}

/** The names of the adapters in folders, sorted. */
export async function adapterNames(folders: readonly string[]): Promise<string[]> {
  const found = await Promise.all(folders.map(filesIn));
  return [...new Set(found.flat().map(([name]) => name))].sort();
}

/** Links out of the folder are left out: only what lies there is served. */
async function filesIn(folder: string): Promise<[name: string, file: string][]> {
  const home = await realpath(folder).catch(() => undefined);
  if (home === undefined) return [];
  const names = (await readdir(home).catch(() => [])).filter((name) => name.endsWith('.safetensors')).sort();
  const files = await Promise.all(
    names.map(async (name): Promise<[string, string][]> => {
      const real = await realpath(join(home, name)).catch(() => undefined);
      if (!real?.startsWith(home.endsWith(sep) ? home : home + sep)) return [];
      return [[basename(name, '.safetensors'), real]];
    }),
  );
  return files.flat();
}
