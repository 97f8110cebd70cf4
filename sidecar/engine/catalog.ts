import type { Stats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelFolder } from '../checkpoints/folder.ts';
import { hashStamp, knownHashes } from '../checkpoints/hash.ts';
import { partFolder } from '../checkpoints/links.ts';
import type { WeightStorage } from '../checkpoints/weights.ts';
import {
  type ComponentOptions,
  defaultSize,
  familyOf,
  openControlNet,
  openPart,
} from '../models/components.ts';
import type { WeightSource } from '../native.ts';
import { tensorsOf } from './inspect.ts';
import type { ModelFolders, NamedFolder } from './model-folders.ts';
import { modelStamp } from './model-stamp.ts';
import { OpenModel } from './open-model.ts';
import { UntilChanged } from './until-changed.ts';

/** A model as listings show it: known without loading it. */
export interface ModelDescription {
  name: string;
  /** Only the first has defaults of a request; the others: 0 and "". */
  kind: 'latent-diffusion' | 'controlnet' | 'autoencoder';
  family: string;
  /** Defaults of a request: pixels, steps, guidance, sampler. */
  width: number;
  height: number;
  steps: number;
  guidanceScale: number;
  sampler: string;
  /** Of its weights' files. */
  bytes: number;
  loaded: boolean;
  isDefault: boolean;
  /** Seconds since 1970: the newest of those files. */
  created: number;
  /** SHA-256 of its tensors, hexadecimal, where it has been computed before; else empty. */
  modelHash: string;
  /** `int8` where any of them are kept so in memory. */
  weights: WeightStorage;
}

/** Describes the models of a server; those that cannot be opened, and so serve no request, are left out. */
export async function describeAll(
  folders: ModelFolders,
  isLoaded: (folder: NamedFolder) => boolean = () => false,
  weights: WeightStorage = 'file',
): Promise<ModelDescription[]> {
  const standard = await folders.default().catch(() => undefined);
  const named = [await folders.list(), await folders.controlNets(), await folders.tinyAutoencoders()];
  const kinds = [describeModel, describeControlNet, describeAutoencoder];
  const hashes = await knownHashes();
  const all = kinds.flatMap((describe, i) =>
    named[i]!.map(async (folder) => {
      const { hashStamp, ...described } = await unlessKnown(folder, describe, weights);
      return {
        ...described,
        modelHash: (hashStamp && hashes[hashStamp]) || '',
        loaded: isLoaded(folder),
        isDefault: i === 0 && folder.name === standard?.name,
      };
    }),
  );
  const found = await Promise.allSettled(all);
  return found.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
}

/** What does not depend on the server that lists it. */
type Described = Omit<ModelDescription, 'loaded' | 'isDefault' | 'modelHash'> & {
  /** What its hash is found by. */
  hashStamp: string | undefined;
};

/** To read all headers and hold them against configs takes a tenth of a second and more for each model. */
const described = new UntilChanged<Described>();

async function unlessKnown(
  { name, dir }: NamedFolder,
  describe: Describe,
  weights: WeightStorage,
): Promise<Described> {
  const stamp = await modelStamp(dir);
  const find = () => describe({ name, dir }, { weights });
  return stamp === undefined ? find() : described.get(dir, [name, weights, stamp].join('\n'), find);
}

type Describe = (folder: NamedFolder, options: ComponentOptions) => Promise<Described>;

async function describeModel(folder: NamedFolder, options: ComponentOptions): Promise<Described> {
  const model = await OpenModel.open(folder, options);
  const { settings, family, checkpoint } = model;
  const files = await weightFiles(checkpoint.folder);
  const trained = defaultSize(checkpoint);
  const tensors = tensorsOf(checkpoint);
  return {
    name: folder.name,
    kind: 'latent-diffusion',
    family,
    width: settings.width ?? trained.width,
    height: settings.height ?? trained.height,
    ...model.defaults,
    sampler: model.sampler('', '').name,
    weights: storageOf(Object.values(tensors).flat()),
    hashStamp: await hashStamp(tensors),
    ...sizeAndTime(files),
  };
}

const noDefaults = { width: 0, height: 0, steps: 0, guidanceScale: 0, sampler: '' };

async function describeControlNet({ name, dir }: NamedFolder, options: ComponentOptions) {
  const { config, sources } = await openControlNet(dir, options);
  const files = sizeAndTime(await filesOf(sources));
  return {
    ...{ name, kind: 'controlnet' as const, family: familyOf(config), weights: storageOf(sources) },
    ...{ ...noDefaults, ...files, hashStamp: await hashStamp({ controlnet: sources }) },
  };
}

async function describeAutoencoder({ name, dir }: NamedFolder) {
  const { sources } = await openPart(dir, 'taesd');
  const files = sizeAndTime(await filesOf(sources));
  return {
    ...{ name, kind: 'autoencoder' as const, family: 'taesd', weights: storageOf(sources) },
    ...{ ...noDefaults, ...files, hashStamp: await hashStamp({ taesd: sources }) },
  };
}

function storageOf(sources: readonly WeightSource[]): WeightStorage {
  return sources.some(({ int8 }) => int8) ? 'int8' : 'file';
}

function filesOf(sources: WeightSource[]): Promise<Stats[]> {
  const files = new Set(sources.flatMap((source) => ('file' in source ? [source.file] : [])));
  return Promise.all([...files].map((file) => stat(file)));
}

/** Bytes of all, and the newest. */
function sizeAndTime(files: Stats[]) {
  return {
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    created: Math.floor(Math.max(0, ...files.map(({ mtimeMs }) => mtimeMs)) / 1000),
  };
}

async function weightFiles({ dir, file, components }: ModelFolder) {
  if (file) return [await stat(dir)];
  const parts = ['text_encoder', 'text_encoder_2', 'unet', 'vae', 'vqvae'];
  const lists = await Promise.all(
    parts.filter((part) => components.has(part)).map(async (part) => weightsIn(await partFolder(dir, part))),
  );
  return lists.flat();
}

async function weightsIn(folder: string): Promise<Stats[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.safetensors'));
  return Promise.all(names.map((name) => stat(join(folder, name))));
}
