import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from '../checkpoints/error.ts';
import type { ModelFolder } from '../checkpoints/folder.ts';
import { partFolder } from '../checkpoints/links.ts';
import { parsePythonJson, type ResolvedSampler, resolveSampler } from '../samplers/index.ts';

/** Finds the sampler of a request by name and schedule; both may be empty: the checkpoint's own. */
export type SamplerChoice = (name: string, schedule: string) => ResolvedSampler;

/**
 * Reads scheduler_config.json of a model's folder; a single file has that of its lineage.
 * @throws CheckpointError naming the file.
 */
export async function readSampler({ dir, file, pipeline }: ModelFolder): Promise<SamplerChoice> {
  const { checkpointConfig, from } = file
    ? { checkpointConfig: file.scheduler, from: dir }
    : await readConfig(join(await partFolder(dir, 'scheduler'), 'scheduler_config.json'));
  return (name, schedule) => resolveSampler({ name, schedule, checkpointConfig, pipeline, file: from });
}

async function readConfig(from: string) {
  return { checkpointConfig: parse(await read(from), from), from };
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new CheckpointError(`Expected a scheduler's config: ${(error as Error).message}`, {
      file,
      cause: error,
    });
  }
}

function parse(text: string, file: string): Record<string, unknown> {
  try {
    const json = parsePythonJson(text);
    if (typeof json === 'object' && json !== null) return json as Record<string, unknown>;
  } catch (error) {
    throw new CheckpointError(`${(error as Error).message}, in ${file}`, { file, cause: error });
  }
  throw new CheckpointError(`Expected a JSON object in ${file}`, { file });
}
