import { z } from 'zod';
import { elements } from '../graph/signature.ts';
import type { WeightDelta, WeightSource } from '../native.ts';
import { CheckpointError } from './error.ts';
import type { Part } from './keys.ts';
import { type AdapterModule, moduleDeltas } from './lora-deltas.ts';
import { AdapterTargets, parseAdapterKey, splitModule } from './lora-keys.ts';
import { readSafetensors, readTensors, type SafetensorsFile } from './safetensors.ts';

// LoRA (arXiv:2106.09685) and LyCORIS' LoHa (arXiv:2108.06098), LoKr (arXiv:2309.14859) and whole differences, as
// kohya's scripts, LyCORIS, diffusers and peft write them.

/** The weights that an adapter may change, by part. */
export type AdapterBase = ReadonlyMap<Part, readonly Pick<WeightSource, 'name' | 'shape' | 'int8'>[]>;

/** What an adapter adds to the weights of each part, at a scale of 1. */
export type Adapter = Map<Part, WeightDelta[]>;

/**
 * Reads an adapter's header and its scalars, and holds it against the model that it is to change.
 * @throws CheckpointError naming the first tensor that fits nothing in the base, and why.
 */
export async function readAdapter(file: string, base: AdapterBase): Promise<Adapter> {
  const header = await readSafetensors(file);
  const scalars = await readScalars(header);
  const defaultScale = peftScale(header);
  const shapes = new Map(
    [...base].map(([part, weights]) => [part, new Map(weights.map(({ name, shape }) => [name, shape]))]),
  );
  const targets = new AdapterTargets(new Map([...shapes].map(([part, weights]) => [part, weights.keys()])));
  const adapter: Adapter = new Map();
  const changed = new Set<string>();
  for (const module of modulesOf(header)) {
    const foreign = (received: string) =>
      new CheckpointError(`Expected an adapter for this model but received ${received}, in ${file}`, {
        file,
      });
    const target = targets.find(module.name);
    if (!target) throw foreign(`${module.key}, for which it has no module`);
    const { part, path } = target;
    const shapeOf = (leaf: string) => {
      const shape = shapes.get(part)!.get(`${path}.${leaf}`);
      if (!shape) throw foreign(`${module.key}, and its ${path} has no ${leaf}`);
      return shape;
    };
    for (const { leaf, rank, factors, combine } of moduleDeltas(module, shapeOf)) {
      const weight = `${path}.${leaf}`;
      if (changed.has(`${part} ${weight}`)) throw foreign(`${module.key}, the second for its ${weight}`);
      changed.add(`${part} ${weight}`);
      const scalar = (role: 'alpha' | 'scalar') => scalars.get(module.tensors.get(role)?.name ?? '');
      const alpha = scalar('alpha');
      const ofRank = alpha === undefined ? defaultScale(module.name, rank ?? 1) : alpha / (rank ?? 1);
      const scale = (rank === undefined ? 1 : ofRank) * (scalar('scalar') ?? 1);
      const deltas = adapter.get(part) ?? [];
      adapter.set(part, deltas);
      deltas.push({ weight, scale, factors, ...(combine && { combine }) });
    }
  }
  return adapter;
}

/** The tensors of each module, modules in the order of the file. */
function modulesOf({ file, tensors }: SafetensorsFile): AdapterModule[] {
  const modules = new Map<string, AdapterModule>();
  const fail = (message: string) => new CheckpointError(`${message}, in ${file}`, { file });
  for (const entry of tensors) {
    const key = parseAdapterKey(entry.name);
    if (!key) throw fail(`Expected the tensors of LoRA, LoHa or LoKr but received ${entry.name}`);
    const module = modules.get(key.module) ?? { name: key.module, key: entry.name, file, tensors: new Map() };
    modules.set(key.module, module);
    // A weight says more of what does not fit than the number beside it, which often comes first.
    if (isScalar(module.key)) module.key = entry.name;
    const other = module.tensors.get(key.role);
    if (other) throw fail(`Expected one of ${other.name} and ${entry.name} but received both`);
    module.tensors.set(key.role, entry);
  }
  if (modules.size === 0) throw fail('Expected the tensors of an adapter but received none');
  return [...modules.values()];
}

const isScalar = (key: string) => /\.(alpha|scalar)$/.test(key);

/** alpha and scalar tensors, by key. */
async function readScalars({ file, tensors }: SafetensorsFile): Promise<Map<string, number>> {
  const scalars = tensors.filter(({ name }) => isScalar(name));
  const fail = (name: string, received: unknown) =>
    new CheckpointError(`Expected one finite number for ${name} but received ${received}, in ${file}`, {
      file,
    });
  for (const { name, shape } of scalars) if (elements(shape) !== 1) throw fail(name, `[${shape.join(', ')}]`);
  const names = new Set(scalars.map(({ name }) => name));
  const read = await readTensors(file, (name) => names.has(name));
  return new Map(
    [...read].map(([name, { data }]) => {
      if (!Number.isFinite(data[0])) throw fail(name, data[0]);
      return [name, data[0]!];
    }),
  );
}

const peftConfig = z.looseObject({
  lora_alpha: z.number().optional(),
  alpha_pattern: z.record(z.string(), z.number()).optional(),
  use_rslora: z.boolean().optional(),
});

/**
 * The scale of a module without an alpha of its own: what peft's config says, which diffusers puts into the header;
 * else 1.
 */
function peftScale({ file, metadata }: SafetensorsFile): (module: string, rank: number) => number {
  const text = metadata.lora_adapter_metadata;
  if (text === undefined) return () => 1;
  const configs = new Map<Part | undefined, z.output<typeof peftConfig>>();
  try {
    const all = z.record(z.string(), z.unknown()).parse(JSON.parse(text));
    for (const part of [undefined, 'unet', 'text_encoder', 'text_encoder_2'] as const) {
      const own = Object.entries(all).filter(([key]) => part === undefined || key.startsWith(`${part}.`));
      const fields = own.map(([key, value]) => [
        part === undefined ? key : key.slice(part.length + 1),
        value,
      ]);
      configs.set(part, peftConfig.parse(Object.fromEntries(fields)));
    }
  } catch (error) {
    throw new CheckpointError(
      `Expected peft's config in the header's lora_adapter_metadata but received ${JSON.stringify(text.slice(0, 80))}, in ${file}`,
      { file, cause: error },
    );
  }
  return (module, rank) => {
    const { part, path } = splitModule(module);
    const { lora_alpha, alpha_pattern = {}, use_rslora } = configs.get(part) ?? {};
    const pattern = Object.keys(alpha_pattern).find((key) => path === key || path.endsWith(`.${key}`));
    const alpha = pattern === undefined ? lora_alpha : alpha_pattern[pattern]!;
    return alpha === undefined ? 1 : alpha / (use_rslora ? Math.sqrt(rank) : rank);
  };
}
