import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readJson } from '../checkpoints/folder.ts';
import { partFolder } from '../checkpoints/links.ts';
import { familyOf } from '../models/components.ts';
import type { ModelFolders, NamedFolder } from './model-folders.ts';
import { readSampler } from './scheduler.ts';
import { readSettings } from './settings.ts';

/** A model as listings show it: known without loading it. */
export interface ModelDescription {
  name: string;
  kind: 'latent-diffusion';
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
}

/** Describes the models of a server; those that cannot be read are left out. */
export async function describeAll(
  folders: ModelFolders,
  isLoaded: (folder: NamedFolder) => boolean = () => false,
): Promise<ModelDescription[]> {
  const standard = await folders.default();
  const found = await Promise.allSettled(
    (await folders.list()).map(async (folder) => ({
      ...(await describe(folder)),
      loaded: isLoaded(folder),
      isDefault: folder.name === standard?.name,
    })),
  );
  return found.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
}

async function describe({ name, dir }: NamedFolder) {
  const [unet, vae, settings, files] = await Promise.all([
    readConfig(dir, 'unet') as Promise<UNetFields>,
    readConfig(dir, 'vae') as Promise<{ block_out_channels: number[] }>,
    readSettings(dir),
    weightFiles(dir),
  ]);
  const sampler = await readSampler(dir);
  const scale = 2 ** (vae.block_out_channels.length - 1);
  const [high, wide] = [unet.sample_size ?? 64].flat() as [number, number?];
  return {
    name,
    kind: 'latent-diffusion' as const,
    family: familyOf(unet),
    width: settings.width ?? (wide ?? high) * scale,
    height: settings.height ?? high * scale,
    steps: settings.steps,
    guidanceScale: settings.guidance_scale,
    sampler: sampler(settings.sampler, settings.schedule).name,
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    created: Math.floor(Math.max(0, ...files.map(({ mtimeMs }) => mtimeMs)) / 1000),
  };
}

async function readConfig(dir: string, part: string): Promise<unknown> {
  return readJson(join(await partFolder(dir, part), 'config.json'));
}

interface UNetFields {
  sample_size?: number | [number, number];
  addition_embed_type?: unknown;
  use_linear_projection?: unknown;
}

async function weightFiles(dir: string) {
  const lists = await Promise.all(
    ['text_encoder', 'unet', 'vae'].map(async (part) => {
      const folder = await partFolder(dir, part);
      const names = await readdir(folder);
      return names.filter((name) => name.endsWith('.safetensors')).map((name) => join(folder, name));
    }),
  );
  return Promise.all(lists.flat().map((file) => stat(file)));
}
