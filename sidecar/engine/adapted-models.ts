import type { Part } from '../checkpoints/keys.ts';
import { type AdapterBase, readAdapter } from '../checkpoints/lora.ts';
import { loadedBytes } from '../checkpoints/weights.ts';
import type { WeightDelta } from '../native.ts';
import type { AdapterChoice } from './adapter-files.ts';
import type { Model } from './model.ts';
import { Pool, type PoolLimits } from './pool.ts';

/**
 * A model with adapters: variants that share all of it but the weights which the adapters change. They are kept for
 * requests to come, the least recently used going first, and never touch the model itself.
 */
export class AdaptedModels {
  readonly model: Model;
  readonly #pool: Pool<Model>;

  /** @param limits of the variants, and of the bytes that their own weights take. */
  constructor(model: Model, limits: PoolLimits) {
    this.model = model;
    this.#pool = new Pool(limits);
  }

  /**
   * Runs `work` with the model, adapted.
   * @throws CheckpointError for an adapter that cannot be used, or not with this model.
   */
  use<R>(adapters: readonly AdapterChoice[], work: (model: Model) => Promise<R>): Promise<R> {
    const active = adapters.filter(({ scale }) => scale !== 0);
    if (active.length === 0) return work(this.model);
    const key = JSON.stringify(active.map(({ file, stamp, scale }) => [file, stamp, scale]));
    return this.#pool.use(key, () => this.#make(active), work);
  }

  /** Frees the variants; the model is left. */
  async dispose(): Promise<void> {
    await this.#pool.clear();
  }

  async #make(adapters: readonly AdapterChoice[]) {
    const base = baseOf(this.model);
    const deltas = new Map<Part, WeightDelta[]>();
    for (const { file, scale } of adapters)
      for (const [part, list] of await readAdapter(file, base)) {
        const scaled = list.map((delta) => ({ ...delta, scale: delta.scale * scale }));
        deltas.set(part, [...(deltas.get(part) ?? []), ...scaled]);
      }
    const value = await this.model.adapted(
      deltas,
      adapters.map(({ file }) => file),
    );
    return { value, cost: changedBytes(deltas, base), dispose: () => value.dispose() };
  }
}

/** What adapters may change: everything but the autoencoder. */
function baseOf({ checkpoint }: Model): AdapterBase {
  const parts = ['unet', 'text_encoder', 'text_encoder_2'] as const;
  const components = checkpoint as unknown as Partial<Record<Part, { sources: AdapterWeights }>>;
  return new Map(
    parts.flatMap((part) => {
      const component = components[part];
      return component ? [[part, component.sources]] : [];
    }),
  );
}

type AdapterWeights = NonNullable<ReturnType<AdapterBase['get']>>;

/** Of the weights that are there once more, in float32 or 8 bits. */
function changedBytes(deltas: ReadonlyMap<Part, WeightDelta[]>, base: AdapterBase): number {
  let bytes = 0;
  for (const [part, list] of deltas) {
    const names = new Set(list.map(({ weight }) => weight));
    const changed = base.get(part)!.filter(({ name }) => names.has(name));
    bytes += loadedBytes(changed.map((weight) => ({ ...weight, dtype: 'F32' })));
  }
  return bytes;
}
