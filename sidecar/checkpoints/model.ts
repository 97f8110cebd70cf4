import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { WeightSource } from '../native.ts';
import { CheckpointError } from './error.ts';
import { expectFolder, type FolderOptions, type ModelFolder, openFolder } from './folder.ts';
import { readJson } from './json.ts';
import type { Part } from './keys.ts';
import { partFolder } from './links.ts';
import { openSingleFile, type SingleFile } from './single-file/index.ts';
import type { FilePart } from './single-file/part.ts';
import { weightSources } from './weights.ts';

/** A model's part before its config has been understood. */
export interface RawPart {
  /** The part's folder, or the single file. */
  dir: string;
  config: unknown;
  /** Where the config comes from, for messages. */
  configFile: string;
  sources: WeightSource[];
}

/**
 * Opens a model: a folder in diffusers layout, or a single file. Of a file only the header is read.
 * @throws CheckpointError when it is neither.
 */
export async function openModel(path: string): Promise<ModelFolder> {
  const info = await stat(path).catch(() => undefined);
  return info?.isFile() ? modelOf(await openSingleFile(path)) : openFolder(path);
}

/**
 * A part of a model: its config as it stands, and its tensors under the names of the models.
 * @param name of the part in the model.
 * @param part what it is.
 * @throws CheckpointError naming the file.
 */
export async function readPart(
  model: ModelFolder,
  name: string,
  part: Part,
  options: FolderOptions = {},
): Promise<RawPart> {
  const holder = await holderOf(model, name);
  if (!holder.file) return readPartFolder(await partFolder(holder.dir, name), part, options);
  const { config, sources } = ownPart(holder.file, name);
  return { dir: holder.dir, config, configFile: holder.dir, sources };
}

/** A part in a folder of its own. */
export async function readPartFolder(dir: string, part: Part, options: FolderOptions = {}): Promise<RawPart> {
  await expectFolder(dir);
  const configFile = join(dir, 'config.json');
  return {
    dir,
    config: await readJson(configFile),
    configFile,
    sources: await weightSources(dir, part, options),
  };
}

/** The model that a part is in: the model itself, or another that a single file takes it from. */
export async function holderOf(model: ModelFolder, name: string): Promise<ModelFolder> {
  return model.file?.parts.get(name) === null ? otherModel(model.file) : model;
}

/** A single file as a folder, with what it takes from another model. */
async function modelOf(file: SingleFile): Promise<ModelFolder> {
  const model = ownParts(file);
  const lacking = lackingIn(file);
  if (file.partsFrom === undefined || lacking.length === 0) return model;
  const other = await otherModel(file);
  for (const name of lacking) {
    const className = other.components.get(name);
    if (className) model.components.set(name, className);
  }
  return model;
}

function ownParts(file: SingleFile): ModelFolder {
  const components = new Map<string, string>();
  for (const [name, part] of file.parts) if (part) components.set(name, part.className);
  return { dir: file.file, pipeline: file.pipeline, components, settings: file.settings, file };
}

function lackingIn({ parts }: SingleFile): string[] {
  return [...parts].filter(([, part]) => part === null).map(([name]) => name);
}

/** The model beside a single file that has the parts which it lacks; what that lacks itself, it has not. */
async function otherModel(file: SingleFile): Promise<ModelFolder> {
  if (file.partsFrom === undefined) throw lacksParts(file);
  const path = join(dirname(file.file), file.partsFrom);
  const info = await stat(path).catch(() => undefined);
  return info?.isFile() ? ownParts(await openSingleFile(path)) : openFolder(path);
}

function ownPart(file: SingleFile, name: string): FilePart {
  const part = file.parts.get(name);
  if (part) return part;
  throw lacksParts(file);
}

/** A part that is not there, or is of another class than is `expected`. */
export function wrongPart(model: ModelFolder, name: string, expected: string): CheckpointError {
  const className = model.components.get(name);
  if (model.file && className === undefined) return lacksParts(model.file);
  const file = model.file ? model.dir : join(model.dir, 'model_index.json');
  return new CheckpointError(
    `Expected ${expected} for ${name} but received ${className ?? 'none'}, in ${file}`,
    { file },
  );
}

function lacksParts(file: SingleFile): CheckpointError {
  const settings = `${file.file.replace(/\.safetensors$/, '')}.latent-edge.json`;
  return new CheckpointError(
    `Expected ${lackingIn(file).join(' and ')} in ${file.file} but found none. Name a model beside it that has them in ${settings}: {"checkpoint": {"parts_from": "NAME"}}`,
    { file: file.file },
  );
}
