import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isControlNet } from '../../checkpoints/controlnet.ts';
import type { NamedFolder } from '../model-folders.ts';
import { stampOf, UntilChanged } from '../until-changed.ts';

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

/** Whether paths are ControlNets. A header can be hundreds of kilobytes. */
const seen = new UntilChanged<boolean>();

async function isKnown(path: string): Promise<boolean> {
  const stamp = await stampOf(path.endsWith('.safetensors') ? path : join(path, 'config.json'));
  // No ControlNet at first sight.
  if (stamp === undefined) return false;
  return seen.get(path, stamp, () => isControlNet(path));
}
