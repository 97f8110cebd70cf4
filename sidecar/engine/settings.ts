import { join } from 'node:path';
import { z } from 'zod';
import { CheckpointError } from '../checkpoints/error.ts';
import { readJson } from '../checkpoints/folder.ts';

/**
 * latent-edge.json in a model's folder: what a request does not say, and the checkpoint's own files cannot. All of it
 * is optional; without it, 50 steps and a guidance of 7.5, as in diffusers.
 */
const settings = z.strictObject({
  /** For people. */
  description: z.string().optional(),
  /** The model to use when none is named. */
  default: z.boolean().optional(),
  steps: z.int().min(1).max(1000).default(50),
  guidance_scale: z.number().min(0).max(100).default(7.5),
  guidance_rescale: z.number().min(0).max(1).default(0),
  /** Default: what scheduler_config.json says. */
  sampler: z.string().default(''),
  schedule: z.string().default(''),
  /** Pixels. Default: the U-Net's sample_size. */
  width: z.int().min(8).max(4096).multipleOf(8).optional(),
  height: z.int().min(8).max(4096).multipleOf(8).optional(),
});

export type ModelSettings = z.output<typeof settings>;

/**
 * Reads latent-edge.json of a model's folder; all defaults where there is none.
 * @throws CheckpointError naming field and file.
 */
export async function readSettings(dir: string): Promise<ModelSettings> {
  const file = join(dir, 'latent-edge.json');
  const json = await readJson(file).catch((error: Error) => {
    if ((error.cause as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  });
  const result = settings.safeParse(json);
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0]!;
  throw new CheckpointError(`${message}${path.length > 0 ? ` for ${path.join('.')}` : ''}, in ${file}`, {
    file,
  });
}
