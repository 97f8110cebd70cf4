import type { NativeDevice } from '../native.ts';
import { AdaptedModels } from './adapted-models.ts';
import type { AdapterChoice } from './adapter-files.ts';
import { Model } from './model.ts';
import type { NamedFolder } from './model-folders.ts';
import { Pool, type Room } from './pool.ts';

/** Of a model with adapters: variants that are kept, and the share of the budget that each model's may take. */
const ADAPTED = { count: 4, share: 0.25 };

/**
 * The loaded models of a device, within a budget of memory for their weights: for one more to be loaded, the least
 * recently used are let go. One in use never is, so that the budget can be passed while more are in use at once.
 */
export class ModelStore {
  readonly #device: NativeDevice;
  readonly #pool: Pool<AdaptedModels>;
  readonly #adaptedBytes: number;

  /** @param budget bytes of weights, as float32. */
  constructor(device: NativeDevice, budget: number) {
    this.#device = device;
    this.#pool = new Pool({ count: Number.POSITIVE_INFINITY, cost: budget });
    this.#adaptedBytes = budget * ADAPTED.share;
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
    const load = async (room: Room) => {
      const model = await Model.load(folder, this.#device, room);
      const value = new AdaptedModels(model, { count: ADAPTED.count, cost: this.#adaptedBytes });
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
