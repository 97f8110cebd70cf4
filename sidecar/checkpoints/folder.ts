import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { CheckpointError } from './error.ts';
import type { TensorEntry } from './header.ts';
import { readJson } from './json.ts';
import { readSafetensors } from './safetensors.ts';
import type { SingleFile } from './single-file/index.ts';

export { readJson } from './json.ts';

/** A model in the layout of diffusers: model_index.json and one folder for each component. */
export interface ModelFolder {
  /** The folder; of a checkpoint in one file, the file. */
  dir: string;
  /** The pipeline it was made for: `StableDiffusionPipeline`. */
  pipeline: string;
  /** Class by component; those that the index gives as null are left out. */
  components: Map<string, string>;
  /** What else the index says: `force_zeros_for_empty_prompt`. */
  settings: Map<string, unknown>;
  /** A checkpoint in one file, whose parts it holds. */
  file?: SingleFile;
}

export interface FolderOptions {
  /** `fp16` chooses diffusion_pytorch_model.fp16.safetensors where there is one. */
  variant?: string;
}

/** Where a tensor of a component lies. */
export interface LocatedTensor extends TensorEntry {
  file: string;
}

const modelIndex = z.looseObject({ _class_name: z.string() });
const component = z.tuple([z.string().nullable(), z.string().nullable()]);

/**
 * Reads model_index.json.
 * @throws CheckpointError when `dir` is not a diffusers folder.
 */
export async function openFolder(dir: string): Promise<ModelFolder> {
  const file = join(dir, 'model_index.json');
  await expectFolder(dir);
  if (!(await stat(file).catch(() => undefined)))
    throw new CheckpointError(
      `Expected a model in diffusers layout but found no model_index.json in ${dir}`,
      {
        file: dir,
      },
    );
  const result = modelIndex.safeParse(await readJson(file));
  if (!result.success)
    throw new CheckpointError(`Expected _class_name in ${file} but received none`, { file });
  const { _class_name: pipeline, ...fields } = result.data;
  const components = new Map<string, string>();
  const settings = new Map<string, unknown>();
  for (const [name, value] of Object.entries(fields)) {
    const entry = component.safeParse(value);
    if (!entry.success) settings.set(name, value);
    else if (entry.data[1] !== null) components.set(name, entry.data[1]);
  }
  return { dir, pipeline, components, settings };
}

/**
 * Finds all tensors of a component's folder: one file, or the shards of an index.
 * @throws CheckpointError when there is no safetensors file, or one is not sound.
 */
export async function locateTensors(dir: string, { variant }: FolderOptions = {}): Promise<LocatedTensor[]> {
  const names = await readdir(dir).catch((error: Error) => {
    throw new CheckpointError(`Expected a component's folder at ${dir}: ${error.message}`, {
      file: dir,
      cause: error,
    });
  });
  const name = chooseWeights(names, variant);
  if (!name) throw noWeights(dir, names, variant);
  const file = join(dir, name);
  if (!name.endsWith('.json')) return located((await readSafetensors(file)).tensors, file);
  return locateShards(dir, file);
}

/** @throws CheckpointError unless `dir` is a folder. */
export async function expectFolder(dir: string): Promise<void> {
  const info = await stat(dir).catch(() => undefined);
  if (info?.isDirectory()) return;
  const received = info ? `the file ${dir}` : `${dir}, which does not exist`;
  throw new CheckpointError(`Expected a folder but received ${received}`, { file: dir });
}

const weightFile =
  /^(?:diffusion_pytorch_model|model)(?:\.(?<a>[\w-]+))?\.safetensors(?<index>\.index(?:\.(?<b>[\w-]+))?\.json)?$/;

/** The file, or index of shards, for a variant; without one, the plain file, then half precision, then any. */
export function chooseWeights(names: string[], variant: string | undefined): string | undefined {
  const found = names.toSorted().flatMap((name) => {
    const groups = weightFile.exec(name)?.groups;
    return groups ? [{ name, variant: groups.a ?? groups.b }] : [];
  });
  const preferred = variant === undefined ? [undefined, 'fp16', 'bf16'] : [variant, undefined];
  for (const wanted of preferred) {
    const match = found.find((file) => file.variant === wanted);
    if (match) return match.name;
  }
  return variant === undefined ? found[0]?.name : undefined;
}

function noWeights(dir: string, names: string[], variant: string | undefined): CheckpointError {
  const pickle = names.find((name) => /\.(bin|ckpt|pt|pth|pkl)$/.test(name));
  if (pickle)
    return new CheckpointError(
      `Expected safetensors but received ${join(dir, pickle)}: pickle is not supported; convert to safetensors`,
      { file: join(dir, pickle) },
    );
  const wanted = variant ? `a .${variant}.safetensors file` : 'a .safetensors file';
  return new CheckpointError(`Expected ${wanted} in ${dir} but found ${names.join(', ') || 'nothing'}`, {
    file: dir,
  });
}

const shardIndex = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

async function locateShards(dir: string, index: string): Promise<LocatedTensor[]> {
  const result = shardIndex.safeParse(await readJson(index));
  if (!result.success)
    throw new CheckpointError(`Expected weight_map of names to files in ${index}`, { file: index });
  const map = new Map(Object.entries(result.data.weight_map));
  const shards = [...new Set(map.values())];
  if (shards.length > 1000)
    throw new CheckpointError(`Expected at most 1000 shards but received ${shards.length}, in ${index}`, {
      file: index,
    });
  for (const shard of shards)
    if (
      shard !== basename(shard) ||
      shard.includes('\\') ||
      shard.includes('\0') ||
      !shard.endsWith('.safetensors')
    )
      throw new CheckpointError(
        `Expected safetensors files beside the index but received ${JSON.stringify(shard)}, in ${index}`,
        { file: index },
      );
  const files = await Promise.all(shards.map((shard) => readSafetensors(join(dir, shard))));
  const all = files.flatMap(({ file, tensors }) => located(tensors, file));
  const wanted = all.filter(({ name, file }) => map.get(name) === basename(file));
  const found = new Set(wanted.map(({ name }) => name));
  const missing = [...map.keys()].find((name) => !found.has(name));
  if (missing)
    throw new CheckpointError(`Expected ${missing} in ${map.get(missing)} as ${index} says`, { file: index });
  return wanted;
}

function located(tensors: TensorEntry[], file: string): LocatedTensor[] {
  return tensors.map((tensor) => ({ ...tensor, file }));
}
