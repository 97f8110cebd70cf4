import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readJson } from './json.ts';
import { type RawPart, readPartFolder } from './model.ts';
import { readSafetensors } from './safetensors.ts';
import { hasControlNet, openControlNetFile } from './single-file/controlnet.ts';
import { Tensors } from './single-file/tensors.ts';

/**
 * Reads a ControlNet's config and headers: a folder of diffusers' layout, or a single file.
 * @throws CheckpointError naming the file.
 */
export async function readControlNet(path: string): Promise<RawPart> {
  const info = await stat(path).catch(() => undefined);
  if (!info?.isFile()) return readPartFolder(path, 'controlnet');
  const { config, sources } = await openControlNetFile(path);
  return { dir: path, config, configFile: path, sources };
}

/** Whether there is a ControlNet at a path: by its config's class, or by a file's tensors. */
export async function isControlNet(path: string): Promise<boolean> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isFile()) {
    if (!path.endsWith('.safetensors')) return false;
    const file = await readSafetensors(path).catch(() => undefined);
    return (
      file !== undefined && hasControlNet(new Tensors(path, new Map(file.tensors.map((t) => [t.name, t]))))
    );
  }
  const config = await readJson(join(path, 'config.json')).catch(() => undefined);
  return (config as { _class_name?: unknown } | undefined)?._class_name === 'ControlNetModel';
}
