import { readFile, stat } from 'node:fs/promises';
import { CheckpointError } from './error.ts';

/**
 * Reads a JSON file of at most 16 MiB.
 * @throws CheckpointError naming the file.
 */
export async function readJson(file: string): Promise<unknown> {
  try {
    const info = await stat(file);
    if (!info.isFile()) throw new Error('Expected a file');
    if (info.size > 2 ** 24)
      throw new Error(`Expected at most 16 MiB of JSON but received ${info.size} bytes`);
    return JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new CheckpointError(`${(error as Error).message}, in ${file}`, { file, cause: error });
  }
}
