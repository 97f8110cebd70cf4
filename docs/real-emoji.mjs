// Writes the 81 emoji that tiny-emoji-ldm knows as PNG files named by their prompts (red-apple.png), on white, as
// docs/experiments.md takes them. First: cd models/training && npm install && node data.mjs
//   node docs/real-emoji.mjs FOLDER [models/training/out/data] [--held-out]
// --held-out: those of the same set that models/training keeps out instead, by their labels.
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { crc32 } from 'node:zlib';
import sharp from 'sharp';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const { values, positionals } = parseArgs({
  options: { 'held-out': { type: 'boolean' } },
  allowPositionals: true,
});
const [folder, data = at('models/training/out/data')] = positionals;
if (!folder) throw new Error('Expected a folder to write to');
const [side, area] = [64, 64 * 64];
const about = (await readFile(join(data, 'pictures.jsonl'), 'utf8')).trim().split('\n').map(JSON.parse);
const pictures = await readFile(join(data, 'pictures.rgba'));
const words = JSON.parse(await readFile(at('models/tiny-emoji-ldm/words.json'), 'utf8'));

const flat = (i) => about[i].set === 'fluent-emoji-flat' && !about[i].tone;
const picture = (word) => {
  const isOf = ({ label, name }) => label === word || name === word.replaceAll(' ', '-');
  const i = about.findIndex((each, i) => flat(i) && isOf(each));
  if (i < 0) throw new Error(`Expected a picture of ${word} but found none, in ${data}`);
  return [word, i];
};
/** As models/training/common.py has it. */
const isHeldOut = ({ set, label }) => crc32(`${set} ${label}`) % 20 === 0;
const learned = words.map(picture);
const known = new Set(learned.map(([, i]) => i));
const heldOut = about.flatMap((each, i) =>
  flat(i) && isHeldOut(each) && !known.has(i) ? [[each.label, i]] : [],
);

await mkdir(folder, { recursive: true });
for (const [word, i] of values['held-out'] ? heldOut : learned) {
  const name = word.replaceAll(/[^\p{L}\d]+/gu, '-');
  const rgba = pictures.subarray(4 * i * area, 4 * (i + 1) * area);
  // Colours are premultiplied by alpha.
  const rgb = Uint8Array.from({ length: 3 * area }, (_, j) => {
    const pixel = 4 * Math.floor(j / 3);
    return Math.min(255, rgba[pixel + (j % 3)] + 255 - rgba[pixel + 3]);
  });
  await sharp(rgb, { raw: { width: side, height: side, channels: 3 } })
    .png()
    .toFile(join(folder, `${name}.png`));
}
