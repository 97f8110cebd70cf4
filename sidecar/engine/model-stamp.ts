import { readdir } from 'node:fs/promises';
import { partFolder } from '../checkpoints/links.ts';
import { readCheckpointOptions, settingsFile } from '../checkpoints/single-file/options.ts';
import { stampOf } from './until-changed.ts';

/** A model's folder, its parts' folders. */
const DEPTH = 2;

/**
 * A stamp of all files that a model, a ControlNet or an autoencoder is read from; undefined for a file that takes
 * parts from another model.
 */
export async function modelStamp(path: string): Promise<string | undefined> {
  const own = await stampOf(path);
  if (own === undefined) return (await stampsIn(path, DEPTH)).join('\n');
  const options = await readCheckpointOptions(path).catch(() => undefined);
  if (options?.parts_from !== undefined) return undefined;
  return [own, await stampOf(await settingsFile(path))].join('\n');
}

async function stampsIn(folder: string, depth: number): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  const all = names.sort().map(async (name) => {
    const path = await partFolder(folder, name);
    const own = await stampOf(path);
    const below = own === undefined && depth > 1 ? await stampsIn(path, depth - 1) : [];
    return [`${name} ${own}`, ...below];
  });
  return (await Promise.all(all)).flat();
}
