import { createHash } from 'node:crypto';
import { TorchGenerator } from '../../sidecar/random/torch.ts';
import { floatToHalf, mapInto, type RawTensor } from './safetensors.ts';

/** The draws that make up one weight file: `[name drawn as, shape, name in the file if another]`, in drawing order. */
export interface WeightsRecipe {
  seed: number;
  gain: number;
  /** SHA-256 of the file's data section: F16, tensors in the order of their names. */
  sha256: string;
  tensors: [name: string, shape: number[], saved?: string][];
}

/** A checkpoint in diffusers layout, as test/fixtures/make_recipes.py describes it. */
export interface ModelRecipe {
  /** Subfolder → `model/subfolder` of a twin that has the same weights. */
  links: Record<string, string>;
  /** Subfolder → folder of test/fixtures/models to copy. */
  copies: Record<string, string>;
  /** JSON files: path → contents. */
  files: Record<string, unknown>;
  weights: Record<string, WeightsRecipe>;
}

/**
 * Draws the tensors of a weight file.
 * @throws Error when the bytes are not those the recipe was made from.
 */
export function drawWeights(recipe: WeightsRecipe, where: string): Record<string, RawTensor> {
  const generator = new TorchGenerator(recipe.seed);
  const drawn = recipe.tensors.map(([name, shape, saved = name]): [string, RawTensor] => {
    const values = draw(generator, name, shape, recipe.gain);
    const halves = mapInto(new Uint16Array(values.length), values, floatToHalf);
    return [saved, { dtype: 'F16', shape, data: new Uint8Array(halves.buffer) }];
  });
  drawn.sort(([a], [b]) => (a < b ? -1 : 1));
  const hash = createHash('sha256');
  for (const [, tensor] of drawn) hash.update(tensor.data);
  const sha256 = hash.digest('hex');
  if (sha256 !== recipe.sha256) {
    throw new Error(
      `Expected SHA-256 ${recipe.sha256} for ${where} but received ${sha256}: sidecar/random/torch.ts no longer gives torch.randn bit for bit`,
    );
  }
  return Object.fromEntries(drawn);
}

/** Fan-in scaled matrices, embeddings of deviation 0.5, norms around 1, biases around 0; float32 at every step. */
function draw(generator: TorchGenerator, name: string, shape: number[], gain: number): Float32Array {
  const f = Math.fround;
  const count = shape.reduce((a, b) => a * b, 1);
  const x = generator.randn(count);
  const parts = name.split('.');
  if (shape.length >= 2 && !parts.at(-2)?.includes('embedding')) {
    const fan = f(Math.sqrt(count / shape[0]!));
    return x.map((v) => f(v * f(gain)) / fan);
  }
  if (shape.length >= 2) return x.map((v) => v * 0.5);
  if (parts.at(-1) === 'weight') return x.map((v) => 1 + f(f(0.2) * v));
  return x.map((v) => f(0.1) * v);
}
