import { elements } from '../graph/signature.ts';
import type { WeightSource } from '../native.ts';
import { CheckpointError } from './error.ts';
import { type FolderOptions, locateTensors } from './folder.ts';
import { canonicalKey, type Part } from './keys.ts';

/**
 * The tensors of a component's folder under the names that models use.
 * @throws CheckpointError for two tensors of one name.
 */
export async function weightSources(
  dir: string,
  part: Part,
  options: FolderOptions = {},
): Promise<WeightSource[]> {
  const sources = new Map<string, WeightSource>();
  for (const { name: key, dtype, shape, file, offset } of await locateTensors(dir, options)) {
    const name = canonicalKey(part, key);
    if (name === undefined) continue;
    if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16')
      throw new CheckpointError(`Expected F32, F16 or BF16 for ${key} but received ${dtype}, in ${file}`, {
        file,
      });
    if (sources.has(name))
      throw new CheckpointError(`Expected ${name} once but received it as ${key} too, in ${file}`, { file });
    sources.set(name, { name, dtype, shape, file, offset });
  }
  return [...sources.values()];
}

/** How matrices are kept in memory: in as many bits as their files have, or, where that costs little, in 8. */
export type WeightStorage = (typeof weightStorages)[number];
export const weightStorages = ['file', 'int8'] as const;

/** Rows and columns, at least, of what is kept in 8 bits: not the first and last convolutions, which are small too. */
const LEAST = 32;

/** Marks those that are kept in 8 bits: matrices and convolutions, but not tables of words and positions. */
export function inEightBits(sources: readonly WeightSource[]): WeightSource[] {
  return sources.map((source) => {
    const { name, shape } = source;
    const isLarge = shape.length > 1 && Math.min(shape[0]!, shape[1]!) >= LEAST;
    return isLarge && !name.endsWith('_embedding.weight') ? { ...source, int8: true } : source;
  });
}

/**
 * What tensors take in memory: matrices as many bits as their files have, or 8 and a scale for each row, the rest
 * float32. (On a GPU matrices take the bits of its precision; this is then no less, but for float32 of 16-bit files.)
 */
export function loadedBytes(sources: readonly Pick<WeightSource, 'dtype' | 'shape' | 'int8'>[]): number {
  return sources.reduce((sum, { dtype, shape, int8 }) => {
    const isNarrow = dtype !== 'F32' && shape.length > 1;
    return sum + (int8 ? elements(shape) + 4 * shape[0]! : (isNarrow ? 2 : 4) * elements(shape));
  }, 0);
}

/**
 * Holds a component's tensors against the parameters of its model.
 * @throws CheckpointError naming the first few that are missing, unexpected or of another shape.
 */
export function checkWeights(
  params: ReadonlyMap<string, readonly number[]>,
  sources: readonly WeightSource[],
  dir: string,
): void {
  const fail = (message: string) => new CheckpointError(`${message}, in ${dir}`, { file: dir });
  const shapes = new Map(sources.map(({ name, shape }) => [name, shape]));
  const missing = [...params.keys()].filter((name) => !shapes.has(name));
  const unexpected = [...shapes.keys()].filter((name) => !params.has(name));
  if (missing.length) {
    const instead = unexpected.length ? ` but received ${few(unexpected)} instead` : ' but found none';
    throw fail(`Expected the tensors ${few(missing)}${instead}`);
  }
  if (unexpected.length)
    throw fail(`Expected no other tensors than the config asks for but received ${few(unexpected)}`);
  for (const [name, shape] of params) {
    const received = shapes.get(name)!;
    if (!equalButOnes(shape, received))
      throw fail(`Expected [${shape.join(', ')}] for ${name} but received [${received.join(', ')}]`);
  }
}

function few(names: string[]): string {
  const rest = names.length - 3;
  return names.slice(0, 3).join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}

/** Trailing dimensions of 1 are equal to none: a 1x1 convolution is a linear layer. */
function equalButOnes(a: readonly number[], b: readonly number[]): boolean {
  const n = Math.min(a.length, b.length);
  return elements(a) === elements(b) && a.slice(0, n).every((size, i) => size === b[i]);
}
