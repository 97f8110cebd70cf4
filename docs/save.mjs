import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';

/**
 * Writes docs/images/NAME, unless the picture that is there is the same but for what processors round otherwise, and
 * what a palette makes of that: of a thousand samples two differ by more than 32 levels, at most.
 * @param image sharp's, with its format.
 */
export async function save(name, image) {
  const file = fileURLToPath(new URL(`images/${name}`, import.meta.url));
  const made = await image.toBuffer();
  const there = await readFile(file).catch(() => undefined);
  if (there && (await isSame(there, made))) return console.log(`${file} stays as it is`);
  await writeFile(file, made);
  console.log(`${file}, ${made.length} bytes`);
}

async function isSame(...files) {
  const [a, b] = await Promise.all(
    files.map((file) => sharp(file).removeAlpha().raw().toBuffer({ resolveWithObject: true })),
  );
  if (a.info.width !== b.info.width || a.data.length !== b.data.length) return false;
  const beyond = a.data.filter((value, i) => Math.abs(value - b.data[i]) > 32).length;
  return beyond <= a.data.length / 500;
}
