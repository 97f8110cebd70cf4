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
 * The adapters of this server by name: the .safetensors files of the folders `loras` beside its models. A name is
 * looked up among them, never joined to a path, so none leads elsewhere.
 */
export class AdapterFiles {
  readonly #roots: readonly string[];
  readonly #named: ReadonlyMap<string, string>;

  /**
   * @param roots where models are looked for; of two adapters of one name the first counts.
   * @param named other files, by name; they come first.
   */
  constructor(roots: readonly string[], named: ReadonlyMap<string, string> = new Map()) {
    this.#roots = roots;
    this.#named = named;
  }

  /** Files by name. */
  async list(): Promise<Map<string, string>> {
    const found = await Promise.all(this.#roots.map((root) => filesIn(join(root, 'loras'))));
    return new Map([...found.toReversed().flat(), ...this.#named]);
  }

  /** @throws ServiceError adapter_not_found */
  async find(adapters: readonly AdapterRequest[]): Promise<AdapterChoice[]> {
    if (adapters.length === 0) return [];
    const files = await this.list();
    return Promise.all(
      adapters.map(async ({ name, scale }) => {
        const file = files.get(name);
        const info = file && (await stat(file).catch(() => undefined));
        if (!file || !info) throw errors.adapterNotFound(name, [...files.keys()]);
        return { name, scale, file, stamp: `${info.size} ${info.mtimeMs}` };
      }),
    );
  }
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
