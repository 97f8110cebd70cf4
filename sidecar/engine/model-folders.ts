import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { errors } from '../errors.ts';
import { isCheckpointFile } from './checkpoint-files.ts';
import { controlNetsIn } from './control/control-files.ts';
import { tinyAutoencodersIn } from './decoders/files.ts';
import { readSettings } from './settings.ts';

/** A model as it is named in requests, and where it lies: a folder, or a checkpoint in one file. */
export interface NamedFolder {
  name: string;
  dir: string;
}

/**
 * The models of this server by name. A name is looked up among the folders that are there, never joined to a path, so
 * none leads elsewhere.
 */
export class ModelFolders {
  readonly #roots: string[];
  readonly #preferred: string | undefined;

  /**
   * @param roots models, and folders of models; of two models of one name the first counts.
   * @param preferred name or folder of the default model; else the one whose settings say so, else the first.
   */
  constructor(roots: readonly string[], preferred?: string) {
    this.#roots = roots.map((root) => resolve(root));
    this.#preferred = preferred;
  }

  async list(): Promise<NamedFolder[]> {
    const found = await Promise.all(this.#roots.map((root) => modelsIn(root)));
    return firstOfEach(found.flat());
  }

  /**
   * @param name of a model; empty: the default.
   * @param field that it came in, for messages.
   * @throws ServiceError model_not_found
   */
  async find(name: string, field = 'model'): Promise<NamedFolder> {
    if (name === '') return this.#defaultOf(await this.list());
    // Without a look at all the others.
    for (const root of this.#roots) {
      const [folder] = await modelsIn(root, name);
      if (folder) return folder;
    }
    const names = (await this.list()).map((candidate) => candidate.name);
    throw errors.modelNotFound(name, names, field);
  }

  /** A message as callers may read it: files by their place in a model, without where that lies on this machine. */
  async withoutPaths(message: string): Promise<string> {
    const dirs = (await this.list()).map(({ dir }) => dir).sort((a, b) => b.length - a.length);
    const beside = [...new Set([...dirs.map((dir) => dirname(dir)), ...this.#roots])]
      .filter((dir) => dir !== sep)
      .sort((a, b) => b.length - a.length);
    const named = dirs.reduce((text, dir) => text.replaceAll(dir, basename(dir)), message);
    return beside.reduce((text, dir) => text.replaceAll(dir + sep, ''), named);
  }

  async default(): Promise<NamedFolder | undefined> {
    const folders = await this.list();
    return folders.length > 0 ? this.#defaultOf(folders) : undefined;
  }

  /** Where the learned words of a model may lie: in its folder or beside its file, then in each of the roots. */
  embeddings(model: NamedFolder): string[] {
    return this.#of(model, 'embeddings');
  }

  /** The ControlNets that a model may have: in its folder or beside its file, then in each of the roots. */
  async controlNets(model?: NamedFolder): Promise<NamedFolder[]> {
    const folders = [...(model ? [ownFolder(model)] : []), ...this.#roots];
    const found = await Promise.all([...new Set(folders)].map(controlNetsIn));
    return firstOfEach(found.flat());
  }

  /** Where its adapters may lie, in the same way. */
  loras(model: NamedFolder): string[] {
    return this.#of(model, 'loras');
  }

  /** The AutoencoderTinys of this server: those beside a model, then in each of the roots. */
  async tinyAutoencoders(model?: NamedFolder): Promise<NamedFolder[]> {
    const folders = [...(model ? [dirname(model.dir)] : []), ...this.#roots];
    const found = await Promise.all([...new Set(folders)].map(tinyAutoencodersIn));
    return firstOfEach(found.flat());
  }

  #of(model: NamedFolder, what: string): string[] {
    return [...new Set([ownFolder(model), ...this.#roots])].map((folder) => join(folder, what));
  }

  async #defaultOf(folders: NamedFolder[]): Promise<NamedFolder> {
    const wanted = this.#preferred;
    if (wanted !== undefined) {
      const path = resolve(wanted);
      const match =
        folders.find(({ dir }) => dir === path || dir.startsWith(path + sep)) ??
        folders.find(({ name }) => name === wanted);
      if (!match)
        throw errors.modelNotFound(
          wanted,
          folders.map(({ name }) => name),
        );
      return match;
    }
    for (const folder of folders) {
      const settings = await readSettings(folder.dir).catch(() => undefined);
      if (settings?.default) return folder;
    }
    const [first] = folders;
    if (!first) throw errors.noModels();
    return first;
  }
}

/** The folder of a model; of one in a single file that which it lies in. */
function ownFolder({ dir }: NamedFolder): string {
  return dir.endsWith('.safetensors') ? dirname(dir) : dir;
}

/** Of several of one name the first. */
function firstOfEach(folders: NamedFolder[]): NamedFolder[] {
  const byName = new Map<string, NamedFolder>();
  for (const folder of folders) if (!byName.has(folder.name)) byName.set(folder.name, folder);
  return [...byName.values()];
}

/**
 * `root` itself, or the models in it; of them the one of a name, where one is given. Links are followed, wherever they lead: whoever may write there has made them.
 * Hidden ones are left out: what is still being pulled.
 */
async function modelsIn(root: string, wanted?: string): Promise<NamedFolder[]> {
  const isWanted = (path: string) => wanted === undefined || modelName(path) === wanted;
  if (await isModel(root)) return isWanted(root) ? [{ name: modelName(root), dir: root }] : [];
  const names = (await readdir(root).catch(() => []))
    .filter((name) => !name.startsWith('.') && isWanted(name))
    .sort();
  const folders = await Promise.all(
    names.map(async (name) => {
      const dir = join(root, name);
      return (await isModel(dir)) ? [{ name: modelName(dir), dir }] : [];
    }),
  );
  return folders.flat();
}

/** Whether a folder is a model in diffusers layout, or a file a checkpoint. */
export async function isModel(path: string): Promise<boolean> {
  const info = await stat(join(path, 'model_index.json')).catch(() => undefined);
  return info?.isFile() || isCheckpointFile(path);
}

/** `my-model` for a folder of that name, and for my-model.safetensors. */
function modelName(path: string): string {
  return basename(path, '.safetensors');
}
