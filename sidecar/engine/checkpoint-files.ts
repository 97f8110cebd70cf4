import { stat } from 'node:fs/promises';
import { openModel } from '../checkpoints/model.ts';
import { settingsFile } from '../checkpoints/single-file/options.ts';

/** Files looked at: what they were by path, until they change. A header can be hundreds of kilobytes. */
const seen = new Map<string, { stamp: string; isCheckpoint: boolean }>();

/** Whether a file is a checkpoint with all its parts. Anything else, damaged files too, is none: folders hold LoRAs. */
export async function isCheckpointFile(path: string): Promise<boolean> {
  if (!path.endsWith('.safetensors')) return false;
  const stamps = await Promise.all([path, await settingsFile(path)].map(stampOf));
  if (stamps[0] === undefined) return false;
  const stamp = stamps.join();
  const known = seen.get(path);
  if (known?.stamp === stamp) return known.isCheckpoint;
  const isCheckpoint = await isWhole(path);
  if (seen.size >= 10_000) seen.clear();
  seen.set(path, { stamp, isCheckpoint });
  return isCheckpoint;
}

async function isWhole(path: string): Promise<boolean> {
  const model = await openModel(path).catch(() => undefined);
  if (!model?.file) return false;
  return [...model.file.parts.keys()].every((part) => model.components.has(part));
}

async function stampOf(path: string): Promise<string | undefined> {
  const info = await stat(path).catch(() => undefined);
  return info?.isFile() ? `${info.size} ${info.mtimeMs}` : undefined;
}
