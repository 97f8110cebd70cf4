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

/**
 * The path of a fixture checkpoint: a folder in diffusers layout (`tiny-sd15`, `tiny-sd21-v`, `tiny-sd-turbo`), or
 * `clip-tokenizer`. Folders are built from their recipe on first use and kept in test/.cache, under a name that
 * changes with the recipes; several test workers may ask at once.
 */
export async function fixtureModel(name: string): Promise<string> {
  const committed = join(RECIPES, name);
  if (existsSync(committed)) return committed;
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
  const file = join(RECIPES, `${name}.json`);
  if (!existsSync(file))
    throw new Error(`Expected a fixture checkpoint for name but received ${name}: no ${file}`);
  const recipe = JSON.parse(await readFile(file, 'utf8')) as ModelRecipe;
  for (const target of Object.values(recipe.links)) await buildTwin(target.split('/')[0]!, home);

  const temporary = join(home, `.${name}-${randomUUID()}`);
  await mkdir(temporary, { recursive: true });
  for (const [to, from] of Object.entries(recipe.copies)) {
    await cp(join(RECIPES, from), join(temporary, to), { recursive: true });
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

  try {
    await rename(temporary, folder);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    // Another worker was first: its folder has the same bytes.
    if (!existsSync(folder)) throw error;
  }
}

async function buildTwin(name: string, home: string): Promise<void> {
  if (!existsSync(join(home, name))) await build(name, home, join(home, name));
}
