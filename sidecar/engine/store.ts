import type { NativeDevice } from '../native.ts';
import { Model } from './model.ts';
import type { NamedFolder } from './model-folders.ts';
import { Pool } from './pool.ts';

export interface StoreLimits {
  /** Models kept loaded. */
  models: number;
  /** Bytes of their weights as float32. */
  bytes: number;
}

/** The loaded models of a device. The least recently used are let go; one in use never is. */
export class ModelStore {
  readonly #device: NativeDevice;
  readonly #pool: Pool<Model>;

  constructor(device: NativeDevice, { models, bytes }: StoreLimits) {
    this.#device = device;
    this.#pool = new Pool({ count: models, cost: bytes });
  }

  /**
   * Runs `work` with a model, which is loaded when it is not there.
   * @throws CheckpointError naming file and field or tensor.
   */
  use<R>(folder: NamedFolder, work: (model: Model) => Promise<R>): Promise<R> {
    const load = async () => {
      const model = await Model.load(folder, this.#device);
      return { value: model, cost: model.bytes, dispose: () => model.dispose() };
    };
    return this.#pool.use(folder.dir, load, work);
  }

  isLoaded(folder: NamedFolder): boolean {
    return this.#pool.has(folder.dir);
  }

  async dispose(): Promise<void> {
    await this.#pool.clear();
  }
}
