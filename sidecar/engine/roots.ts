import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { errors, show } from '../errors.ts';
import { openAnyCheckpoint } from '../models/components.ts';
import { ModelFolders } from './model-folders.ts';

/**
 * Where models are looked for: what was named, then LATENT_EDGE_MODELS (folders, separated as in PATH; without it,
 * the folder of pulled models), then the embedded ones.
 * @param named models (folders or files), folders of models, or names; the first is the default.
 * @param where they were named, for messages.
 * @throws ServiceError, or CheckpointError for a file that is no checkpoint.
 */
export async function modelFolders(
  named: readonly string[] = [],
  where = named.length > 0 ? '--model' : 'LATENT_EDGE_MODEL',
): Promise<ModelFolders> {
  const all = named.length > 0 ? named : [process.env.LATENT_EDGE_MODEL ?? ''].filter(Boolean);
  const folders = all.filter((path) => existsSync(path));
  for (const path of folders) {
    // It says what is wrong with it.
    if ((await stat(path)).isFile()) await openAnyCheckpoint(path);
    if ((await new ModelFolders([path]).list()).length === 0)
      throw errors.checkpointUnusable(
        `Expected a checkpoint in ${path}, a folder with model_index.json or a .safetensors file, but found none`,
      );
  }
  for (const path of process.env.LATENT_EDGE_MODELS ? stores() : [])
    if (!existsSync(path)) throw notThere(path, 'LATENT_EDGE_MODELS');
  const found = new ModelFolders([...folders, ...stores(), ...embedded()], all[0]);
  for (const name of all.filter((path) => !existsSync(path))) {
    if (/[\\/]|^\.|\.safetensors$/.test(name)) throw notThere(name, where);
    await found.find(name);
  }
  return found;
}

function notThere(path: string, what: string) {
  return errors.checkpointUnusable(
    `Expected a model or a folder of models for ${what} but received ${show(path)}: there is no such folder or file`,
  );
}

/** Where pulled models go: the first folder of LATENT_EDGE_MODELS, else one in the user's home. */
export function modelStore(): string {
  return stores()[0]!;
}

function stores(): string[] {
  const named = (process.env.LATENT_EDGE_MODELS ?? '').split(delimiter).filter(Boolean);
  const data = process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share');
  return named.length > 0 ? named : [join(data, 'latent-edge', 'models')];
}

// From sources (sidecar/engine) and from the build (dist/sidecar/engine).
function embedded(): string[] {
  const paths = ['../../models', '../../../models'].map((path) =>
    fileURLToPath(new URL(path, import.meta.url)),
  );
  return paths.filter((path) => existsSync(path)).slice(0, 1);
}
