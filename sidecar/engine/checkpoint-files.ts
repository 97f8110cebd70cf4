import { openModel } from '../checkpoints/model.ts';
import { settingsFile } from '../checkpoints/single-file/options.ts';
import { stampOf, UntilChanged } from './until-changed.ts';

/** Whether files are checkpoints. A header can be hundreds of kilobytes. */
const seen = new UntilChanged<boolean>();

/** Whether a file is a checkpoint with all its parts. Anything else, damaged files too, is none: folders hold LoRAs. */
export async function isCheckpointFile(path: string): Promise<boolean> {
  if (!path.endsWith('.safetensors')) return false;
  const stamps = await Promise.all([path, await settingsFile(path)].map(stampOf));
  if (stamps[0] === undefined) return false;
  return seen.get(path, stamps.join(), () => isWhole(path));
}

async function isWhole(path: string): Promise<boolean> {
  const model = await openModel(path).catch(() => undefined);
  if (!model?.file) return false;
  return [...model.file.parts.keys()].every((part) => model.components.has(part));
}
