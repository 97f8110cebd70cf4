import { isControlNet } from '../checkpoints/controlnet.ts';
import { modelHash, type Parts } from '../checkpoints/hash.ts';
import { dtypeBytes } from '../checkpoints/header.ts';
import type { WeightStorage } from '../checkpoints/weights.ts';
import { elements } from '../graph/signature.ts';
import {
  type AnyCheckpoint,
  type Component,
  type ComponentOptions,
  componentsOf,
  defaultSize,
  familyOf,
  openAnyCheckpoint,
  openControlNet,
  openPart,
} from '../models/components.ts';
import { vaeScale } from '../models/vae.ts';
import { vqScale } from '../models/vq.ts';
import { isTinyAutoencoder } from './decoders/files.ts';
import { readSampler } from './scheduler.ts';
import { readSettings } from './settings.ts';

/** What a model consists of, as its configs and headers say: nothing of it is loaded. */
export interface Inspection extends PartInspection<AnyCheckpoint['kind']> {
  /** The class that diffusers opens it with. */
  pipeline: string;
  /** The sampler that its scheduler stands for. */
  scheduler: string;
  /** Pixels. */
  defaultSize: { width: number; height: number };
  latentChannels: number;
  pixelsPerLatent: number;
}

/** What any of those that `latent-edge models` lists has: a model, or what models are used with. */
export interface PartInspection<Kind = 'controlnet' | 'autoencoder'> {
  path: string;
  kind: Kind;
  family: string;
  components: ComponentInspection[];
  parameters: number;
  /** Bytes that its tensors take once they are loaded. */
  memoryBytes: number;
  /** SHA-256 over its tensors; only when it was asked for. */
  hash?: string;
}

export interface ComponentInspection {
  name: string;
  className: string;
  parameters: number;
  /** Types of its tensors in the files: `F16`. */
  dtypes: string[];
  /** Bytes of its tensors in the files. */
  bytes: number;
}

export interface InspectOptions {
  /** Whether to compute it too. */
  hash?: boolean | undefined;
  /** How its matrices would be kept in memory: bytes and hash are of that. */
  weights?: WeightStorage | undefined;
}

/**
 * Reads a model's configs and headers, and holds one against the other.
 * @throws CheckpointError naming file and field or tensor of what is wrong.
 */
export async function inspect(
  path: string,
  { hash = false, weights }: InspectOptions = {},
): Promise<Inspection> {
  const checkpoint = await openAnyCheckpoint(path, { weights });
  const { folder, unet } = checkpoint;
  const [settings, sampler] = await Promise.all([readSettings(path), readSampler(folder)]);
  const components = Object.entries(componentsOf(checkpoint)).map(([name, component]) => ({
    name,
    className: folder.components.get(name)!,
    ...inspectComponent(component),
  }));
  const parameters = components.reduce((sum, component) => sum + component.parameters, 0);
  const memoryBytes = Object.values(componentsOf(checkpoint)).reduce((sum, { bytes }) => sum + bytes, 0);
  const isVq = checkpoint.kind === 'unconditional';
  const size = defaultSize(checkpoint);
  return {
    ...{ path, pipeline: folder.pipeline, kind: checkpoint.kind },
    family: isVq ? 'ldm' : checkpoint.family,
    ...{ components, parameters, memoryBytes },
    scheduler: sampler(settings.sampler, settings.schedule).name,
    defaultSize: { width: settings.width ?? size.width, height: settings.height ?? size.height },
    latentChannels: unet.config.out_channels,
    pixelsPerLatent: isVq ? vqScale(checkpoint.vqvae.config) : vaeScale(checkpoint.vae.config),
    ...(hash && { hash: await checkpointHash(checkpoint) }),
  };
}

/**
 * The same of a ControlNet or an AutoencoderTiny that lies by itself; undefined for anything else.
 * @throws CheckpointError
 */
export async function inspectPart(
  path: string,
  { hash = false, weights }: InspectOptions = {},
): Promise<PartInspection | undefined> {
  if (await isTinyAutoencoder(path)) {
    const component = await openPart(path, 'taesd');
    const part = partOf('autoencoder', 'AutoencoderTiny', component);
    return { path, family: 'taesd', ...part, ...(hash && { hash: await tinyAutoencoderHash(path) }) };
  }
  if (!(await isControlNet(path))) return undefined;
  const component = await openControlNet(path, { weights });
  const part = partOf('controlnet', 'ControlNetModel', component);
  return {
    path,
    family: familyOf(component.config),
    ...part,
    ...(hash && { hash: await modelHash({ controlnet: component.sources }) }),
  };
}

function partOf<Kind extends string>(kind: Kind, className: string, component: Component<unknown>) {
  const { parameters, bytes: memoryBytes } = component;
  const components = [{ name: kind, className, ...inspectComponent(component) }];
  return { kind, components, parameters, memoryBytes };
}

/**
 * SHA-256 over a model's tensors as they would be kept, as results name it. Reads all of its files, the first time.
 * @throws CheckpointError
 */
export async function hashOf(path: string, options: ComponentOptions = {}): Promise<string> {
  return checkpointHash(await openAnyCheckpoint(path, options));
}

/**
 * SHA-256 over a ControlNet's tensors, likewise.
 * @throws CheckpointError
 */
export async function controlNetHash(path: string, options: ComponentOptions = {}): Promise<string> {
  return modelHash({ controlnet: (await openControlNet(path, options)).sources });
}

/** The same of an AutoencoderTiny. */
export async function tinyAutoencoderHash(path: string): Promise<string> {
  return modelHash({ taesd: (await openPart(path, 'taesd')).sources });
}

/** SHA-256 over a checkpoint's tensors, hexadecimal. */
export function checkpointHash(checkpoint: AnyCheckpoint): Promise<string> {
  return modelHash(tensorsOf(checkpoint));
}

/** A checkpoint's tensors by component. */
export function tensorsOf(checkpoint: AnyCheckpoint): Parts {
  const parts = Object.entries(componentsOf(checkpoint));
  return Object.fromEntries(parts.map(([name, { sources }]) => [name, sources]));
}

function inspectComponent({ sources, parameters }: Component<unknown>) {
  const bytes = sources.reduce((sum, { dtype, shape }) => sum + dtypeBytes[dtype]! * elements(shape), 0);
  return { parameters, dtypes: [...new Set(sources.map(({ dtype }) => dtype))].sort(), bytes };
}
