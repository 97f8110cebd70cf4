import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { readJson } from '../../checkpoints/json.ts';
import type { NamedFolder } from '../model-folders.ts';

/** The folders of an AutoencoderTiny in a folder: config.json beside its weights, as `madebyollin/taesd` is. */
export async function tinyAutoencodersIn(folder: string): Promise<NamedFolder[]> {
  const names = await readdir(folder).catch(() => []);
  const dirs = names
    .filter((name) => !name.startsWith('.'))
    .sort()
    .map((name) => join(folder, name));
  const found = await Promise.all(
    dirs.map(async (dir) => ((await isTinyAutoencoder(dir)) ? [{ name: basename(dir), dir }] : [])),
  );
  return found.flat();
}

/** Whether a folder's config is that of an AutoencoderTiny. */
export async function isTinyAutoencoder(dir: string): Promise<boolean> {
  const config = await readJson(join(dir, 'config.json')).catch(() => undefined);
  return (config as { _class_name?: unknown } | undefined)?._class_name === 'AutoencoderTiny';
}
