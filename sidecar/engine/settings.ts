import { join } from 'node:path';
import { z } from 'zod';
import { parseConfig } from '../checkpoints/config.ts';
import { readJson } from '../checkpoints/json.ts';
import { checkpointOptions, settingsFile } from '../checkpoints/single-file/options.ts';
import type { Family } from '../models/components.ts';

/**
 * latent-edge.json in a model's folder: what a request does not say, and the checkpoint's own files cannot. All of it
 * is optional; without it, 50 steps, and a guidance of 7.5 or, for Stable Diffusion XL, 5, as in diffusers; for models
 * distilled to few steps, one step and no guidance.
 */
const settings = z.strictObject({
  /** For people. */
  description: z.string().optional(),
  /** The model to use when none is named. */
  default: z.boolean().optional(),
  steps: z.int().min(1).max(1000).optional(),
  /** Whether the model was distilled to few steps without guidance. Default: what its scheduler suggests (few-step.ts). */
  few_step: z.boolean().optional(),
  guidance_scale: z.number().min(0).max(100).optional(),
  guidance_rescale: z.number().min(0).max(1).default(0),
  /** Default: what scheduler_config.json says. */
  sampler: z.string().default(''),
  schedule: z.string().default(''),
  /** Pixels. Default: the U-Net's sample_size. */
  width: z.int().min(8).max(4096).multipleOf(8).optional(),
  height: z.int().min(8).max(4096).multipleOf(8).optional(),
});

export type ModelSettings = z.output<typeof settings>;

/** What a request that names none gets. */
export interface Defaults {
  steps: number;
  guidanceScale: number;
}

/** By the model's settings, its family, and whether it was distilled to few steps. */
export function defaultsOf(settings: ModelSettings, family: Family | 'ldm', isFewStep: boolean): Defaults {
  const usual = isFewStep ? 1 : family === 'sdxl' ? 5 : 7.5;
  return {
    steps: settings.steps ?? (isFewStep ? 1 : 50),
    guidanceScale: family === 'ldm' ? 1 : (settings.guidance_scale ?? usual),
  };
}

/** NAME.latent-edge.json beside NAME.safetensors, which says more: what opening the file needs. */
const fileSettings = settings.extend({ checkpoint: checkpointOptions.optional() });

/**
 * Reads latent-edge.json of a model's folder, NAME.latent-edge.json beside NAME.safetensors; all defaults where there
 * is none.
 * @throws CheckpointError naming field and file.
 */
export async function readSettings(model: string): Promise<ModelSettings> {
  const file = await settingsFile(model);
  const json = await readJson(file).catch((error: Error) => {
    if ((error.cause as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  });
  const schema = file === join(model, 'latent-edge.json') ? settings : fileSettings;
  return parseConfig(schema, json, file);
}
