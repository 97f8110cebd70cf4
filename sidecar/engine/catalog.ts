import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelFolder } from '../checkpoints/folder.ts';
import { partFolder } from '../checkpoints/links.ts';
import { openModel, readPartConfig } from '../checkpoints/model.ts';
import { familyOf } from '../models/components.ts';
import type { ModelFolders, NamedFolder } from './model-folders.ts';
import { readSampler } from './scheduler.ts';
import { defaultGuidance, readSettings } from './settings.ts';

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
  const standard = await folders.default().catch(() => undefined);
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
  const model = await openModel(dir);
  const isUnconditional = model.components.has('vqvae');
  const [unet, vae, settings, sampler, files] = await Promise.all([
    readPartConfig(model, 'unet') as Promise<UNetFields>,
    readPartConfig(model, isUnconditional ? 'vqvae' : 'vae') as Promise<{ block_out_channels: number[] }>,
    readSettings(dir),
    readSampler(model),
    weightFiles(model),
  ]);
  const scale = 2 ** (vae.block_out_channels.length - 1);
  const [high, wide] = [unet.sample_size ?? 64].flat() as [number, number?];
  const family = isUnconditional ? 'ldm' : familyOf(unet);
  return {
    name,
    kind: 'latent-diffusion' as const,
    family,
    width: settings.width ?? (wide ?? high) * scale,
    height: settings.height ?? high * scale,
    steps: settings.steps,
    guidanceScale: defaultGuidance(settings, family),
    sampler: sampler(settings.sampler, settings.schedule).name,
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    created: Math.floor(Math.max(0, ...files.map(({ mtimeMs }) => mtimeMs)) / 1000),
  };
}

interface UNetFields {
  sample_size?: number | [number, number];
  addition_embed_type?: unknown;
  use_linear_projection?: unknown;
}

async function weightFiles({ dir, file, components }: ModelFolder) {
  if (file) return [await stat(dir)];
  const parts = ['text_encoder', 'text_encoder_2', 'unet', 'vae', 'vqvae'];
  const lists = await Promise.all(
    parts
      .filter((part) => components.has(part))
      .map(async (part) => {
        const folder = await partFolder(dir, part);
        const names = await readdir(folder);
        return names.filter((name) => name.endsWith('.safetensors')).map((name) => join(folder, name));
      }),
  );
  return Promise.all(lists.flat().map((file) => stat(file)));
}
