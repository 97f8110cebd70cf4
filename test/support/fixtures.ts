import { createHash, randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parsePythonJson } from '../../sidecar/samplers/config.ts';
import { drawWeights, type ModelRecipe } from './recipe.ts';
import { type FixtureTensor, readTensors, writeTensors } from './safetensors.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url));
const RECIPES = join(FIXTURES, 'models');
const MERGES = fileURLToPath(new URL('../../models/clip-vocabulary/merges.txt', import.meta.url));
const CACHE = fileURLToPath(new URL('../.cache/', import.meta.url));

/** What the reference computed: `tensors` are named `in.*` and `out.*`. */
export interface FixtureCase {
  name: string;
  // biome-ignore lint/suspicious/noExplicitAny: each kind of case has parameters of its own
  params: Record<string, any>;
  tensors: Record<string, FixtureTensor>;
}

/** Reads `test/fixtures/cases/NAME.json` and `.safetensors`. */
export function fixtureCase(name: string): FixtureCase {
  const file = join(FIXTURES, 'cases', name);
  return {
    name,
    // biome-ignore lint/suspicious/noExplicitAny: as above
    params: parsePythonJson(readFileSync(`${file}.json`, 'utf8')) as any,
    tensors: readTensors(`${file}.safetensors`),
  };
}

/** A case's inputs without the `in.` before their names, to be written to a file. */
export function inputsOf(tensors: FixtureCase['tensors']): Parameters<typeof writeTensors>[1] {
  const inputs = Object.entries(tensors).filter(([name]) => name.startsWith('in.'));
  return Object.fromEntries(
    inputs.map(([name, { dtype, shape, data }]) => {
      const values = dtype === 'I64' ? BigInt64Array.from(data, BigInt) : data;
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      return [name.slice(3), { dtype, shape, data: bytes }];
    }),
  );
}

/**
 * The path of a fixture checkpoint: a folder in diffusers layout (`tiny-sd15`, `tiny-sd21-v`, `tiny-sd-turbo`), or
 * `clip-tokenizer`. They are built from their recipe on first use and kept in test/.cache, under a name that
 * changes with the recipes; several test workers may ask at once.
 */
export async function fixtureModel(name: string): Promise<string> {
  const home = join(CACHE, `models-${await recipesDigest()}`);
  const folder = join(home, name);
  if (!existsSync(folder)) await build(name, home, folder);
  return folder;
}

async function recipesDigest(): Promise<string> {
  const hash = createHash('sha256');
  for (const file of (await readdir(RECIPES)).sort()) {
    if (file.endsWith('.json')) hash.update(await readFile(join(RECIPES, file)));
  }
  return hash.digest('hex').slice(0, 8);
}

async function build(name: string, home: string, folder: string): Promise<void> {
  const temporary = join(home, `.${name}-${randomUUID()}`);
  await mkdir(temporary, { recursive: true });
  try {
    if (name === 'clip-tokenizer') await writeTokenizer(temporary);
    else await followRecipe(name, home, temporary);
    await rename(temporary, folder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    // Another worker was first: its folder has the same bytes.
    if (!existsSync(folder)) throw error;
  }
}

/** The published files: vocab.json follows from merges.txt, which the project carries for single-file checkpoints. */
async function writeTokenizer(folder: string): Promise<void> {
  await cp(join(RECIPES, 'clip-tokenizer'), folder, { recursive: true });
  const merges = await readFile(MERGES, 'utf8');
  await writeFile(join(folder, 'merges.txt'), merges);
  const printable = Array.from({ length: 256 }, (_, i) => i).filter((i) =>
    /[!-~¡-¬®-ÿ]/.test(String.fromCharCode(i)),
  );
  const others = Array.from({ length: 256 - printable.length }, (_, i) => 256 + i);
  const bytes = [...printable, ...others].map((code) => String.fromCharCode(code));
  const joined = merges
    .trim()
    .split('\n')
    .slice(1)
    .map((line) => line.replace(' ', ''));
  const tokens = [
    ...bytes,
    ...bytes.map((byte) => `${byte}</w>`),
    ...joined,
    '<|startoftext|>',
    '<|endoftext|>',
  ];
  const entries = tokens.map((token, id) => `${JSON.stringify(token)}: ${id}`);
  await writeFile(join(folder, 'vocab.json'), `{${entries.join(', ')}}`);
}

async function followRecipe(name: string, home: string, temporary: string): Promise<void> {
  const file = join(RECIPES, `${name}.json`);
  if (!existsSync(file))
    throw new Error(`Expected a fixture checkpoint for name but received ${name}: no ${file}`);
  const recipe = JSON.parse(await readFile(file, 'utf8')) as ModelRecipe;
  const others = [...Object.values(recipe.links), ...Object.values(recipe.copies)];
  for (const target of others) await buildOther(target.split('/')[0]!, home);

  for (const [to, from] of Object.entries(recipe.copies)) {
    await cp(join(home, from), join(temporary, to), { recursive: true });
  }
  for (const [path, contents] of Object.entries(recipe.files)) {
    await mkdir(dirname(join(temporary, path)), { recursive: true });
    await writeFile(join(temporary, path), JSON.stringify(contents, null, 2));
  }
  for (const [path, weights] of Object.entries(recipe.weights)) {
    writeTensors(join(temporary, path), drawWeights(weights, `${name}/${path}`));
  }
  for (const [path, target] of Object.entries(recipe.links))
    await symlink(`../${target}`, join(temporary, path));
}

async function buildOther(name: string, home: string): Promise<void> {
  if (!existsSync(join(home, name))) await build(name, home, join(home, name));
}
