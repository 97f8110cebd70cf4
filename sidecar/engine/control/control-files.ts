import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isControlNet } from '../../checkpoints/controlnet.ts';
import type { NamedFolder } from '../model-folders.ts';

/**
 * The ControlNets among a folder's own entries, and in its folder `controlnets`: folders of diffusers' layout, and
 * files. Links are followed, as those of models are.
 */
export async function controlNetsIn(folder: string): Promise<NamedFolder[]> {
  const all = await Promise.all([folder, join(folder, 'controlnets')].map(entriesOf));
  return (await Promise.all(all.flat().map(named))).flat();
}

async function entriesOf(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names
    .filter((name) => !name.startsWith('.'))
    .sort()
    .map((name) => join(folder, name));
}

async function named(path: string): Promise<NamedFolder[]> {
  return (await isKnown(path)) ? [{ name: controlNetName(path), dir: path }] : [];
}

/** `canny` for a folder of that name, and for canny.safetensors. */
export function controlNetName(path: string): string {
  return basename(path, '.safetensors');
}

/** Paths looked at: what they were, until they change. A header can be hundreds of kilobytes. */
const seen = new Map<string, { stamp: string; is: boolean }>();

async function isKnown(path: string): Promise<boolean> {
  const stamp = await stampOf(path);
  if (stamp === undefined) return false;
  const known = seen.get(path);
  if (known?.stamp === stamp) return known.is;
  const is = await isControlNet(path);
  if (seen.size >= 10_000) seen.clear();
  seen.set(path, { stamp, is });
  return is;
}

/** Of a file, or of a folder's config; undefined for what is no ControlNet at first sight. */
async function stampOf(path: string): Promise<string | undefined> {
  const file = path.endsWith('.safetensors') ? path : join(path, 'config.json');
  const info = await stat(file).catch(() => undefined);
  return info?.isFile() ? `${info.size} ${info.mtimeMs}` : undefined;
}
