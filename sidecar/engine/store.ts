import type { NativeDevice } from '../native.ts';
import { AdaptedModels } from './adapted-models.ts';
import type { AdapterChoice } from './adapter-files.ts';
import { Model } from './model.ts';
import type { NamedFolder } from './model-folders.ts';
import { Pool } from './pool.ts';

export interface StoreLimits {
  /** Models kept loaded. */
  models: number;
  /** Bytes of their weights as float32. */
  bytes: number;
}

/** Variants of a model with adapters that are kept. */
const ADAPTED = 4;

/** The loaded models of a device. The least recently used are let go; one in use never is. */
export class ModelStore {
  readonly #device: NativeDevice;
  readonly #pool: Pool<AdaptedModels>;
  readonly #adaptedBytes: number;

  constructor(device: NativeDevice, { models, bytes }: StoreLimits) {
    this.#device = device;
    this.#pool = new Pool({ count: models, cost: bytes });
    this.#adaptedBytes = bytes / models;
  }

  /**
   * Runs `work` with a model, which is loaded when it is not there.
   * @throws CheckpointError naming file and field or tensor.
   */
  use<R>(
    folder: NamedFolder,
    adapters: readonly AdapterChoice[],
    work: (model: Model) => Promise<R>,
  ): Promise<R> {
    const load = async () => {
      const model = await Model.load(folder, this.#device);
      const value = new AdaptedModels(model, { count: ADAPTED, cost: this.#adaptedBytes });
      const dispose = async () => {
        await value.dispose();
        await model.dispose();
      };
      return { value, cost: model.bytes, dispose };
    };
    return this.#pool.use(folder.dir, load, (model) => model.use(adapters, work));
  }

  isLoaded(folder: NamedFolder): boolean {
    return this.#pool.has(folder.dir);
  }

  async dispose(): Promise<void> {
    await this.#pool.clear();
  }
}
