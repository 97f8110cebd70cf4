import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';

/**
 * The folder of a model's part. Checkouts and archives made without symbolic links hold a link to another model's
 * part as a text file with its target (`../tiny-sd15/vae`, as git writes it): such a file stands for its target as
 * long as that lies beside the model. Anything else is returned as it is, for the reader to complain about.
 */
export async function partFolder(model: string, part: string): Promise<string> {
  const path = join(model, part);
  const info = await stat(path).catch(() => undefined);
  if (!info?.isFile() || info.size > 1024) return path;
  const link = await readFile(path, 'utf8');
  const target = resolve(model, link);
  const beside = dirname(resolve(model)) + sep;
  const folder =
    link !== '' && target.startsWith(beside) && (await stat(target).catch(() => undefined))?.isDirectory();
  return folder ? target : path;
}
