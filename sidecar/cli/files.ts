import { readFile } from 'node:fs/promises';
import { InvalidArgumentError } from 'commander';
import { openPicture } from '../engine/picture.ts';

/**
 * The bytes of a picture's file.
 * @param option that named it, for messages.
 * @throws an error naming option and file, where nothing can be read or it is no picture.
 */
export async function pictureFile(option: string, path: string): Promise<Uint8Array> {
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    throw noFile(option, 'a PNG, JPEG or WebP file', path, error.code);
  });
  // So that the message has the option's name, and the file's.
  await openPicture(bytes, `${option} ${path}`);
  return bytes;
}

const reasons: Record<string, string> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'there is no such file',
  EISDIR: 'it is a folder',
  EACCES: 'it may not be read',
};

/** @param code of the system's error. */
export function noFile(option: string, expected: string, path: string, code = ''): InvalidArgumentError {
  return new InvalidArgumentError(
    `Expected ${expected} for ${option} but received ${JSON.stringify(path)}: ${reasons[code] ?? code}`,
  );
}
