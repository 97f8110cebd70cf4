import { stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { parseConfig } from '../config.ts';
import { readJson } from '../json.ts';

const fields = z.record(z.string(), z.unknown()).optional();

/**
 * `checkpoint` in NAME.latent-edge.json beside NAME.safetensors: what a single file's tensors cannot say. Fields of a
 * part are those of its config.json in diffusers layout; they come before what was derived.
 */
export const checkpointOptions = z.strictObject({
  prediction_type: z.enum(['epsilon', 'v_prediction']).optional(),
  /** For v-prediction: the last timestep is pure noise (arXiv:2305.08891). */
  zero_terminal_snr: z.boolean().optional(),
  /** A model beside the file, file or folder, for the parts that the file lacks. */
  parts_from: z
    .string()
    .refine(
      (name) => name === basename(name) && !/^\.{0,2}$|[\\/\0]/.test(name),
      'Expected the name of a model beside the file',
    )
    .optional(),
  unet: fields,
  vae: fields,
  text_encoder: fields,
  text_encoder_2: fields,
  scheduler: fields,
});

export type CheckpointOptions = z.output<typeof checkpointOptions>;

/** The settings of a model: latent-edge.json in a folder, NAME.latent-edge.json beside NAME.safetensors. */
export async function settingsFile(model: string): Promise<string> {
  const info = await stat(model).catch(() => undefined);
  if (!info?.isFile()) return join(model, 'latent-edge.json');
  return `${model.replace(/\.safetensors$/, '')}.latent-edge.json`;
}

/**
 * Reads `checkpoint` of the settings beside a single file; empty where there are none.
 * @throws CheckpointError naming field and file.
 */
export async function readCheckpointOptions(model: string): Promise<CheckpointOptions> {
  const file = await settingsFile(model);
  const json = await readJson(file).catch((error: Error) => {
    if ((error.cause as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  });
  return parseConfig(z.looseObject({ checkpoint: checkpointOptions.default({}) }), json, file).checkpoint;
}
