import type { Component, ComponentOptions } from '../models/components.ts';
import { openControlNet } from '../models/components.ts';
import type { ControlNetConfig } from '../models/controlnet-config.ts';
import type { NativeDevice } from '../native.ts';
import { AdaptedModels } from './adapted-models.ts';
import type { AdapterChoice } from './adapter-files.ts';
import { ControlNet } from './control/controlnet.ts';
import { FilePool } from './file-pool.ts';
import { Model } from './model.ts';
import type { NamedFolder } from './model-folders.ts';
import { OpenModel } from './open-model.ts';
import type { Room } from './pool.ts';

/** Of a model with adapters: variants that are kept, and the share of the budget that each model's may take. */
const ADAPTED = { count: 4, share: 0.25 };

/**
 * The loaded models and ControlNets of a device, within a budget of memory for their weights: for one more to be loaded, the least
 * recently used are let go. One in use never is, so that the budget can be passed while more are in use at once.
 */
export class ModelStore {
  readonly #device: NativeDevice;
  readonly #pool: FilePool<AdaptedModels | ControlNet>;
  readonly #adaptedBytes: number;
  readonly #options: ComponentOptions;
  readonly #opening = new Map<string, Promise<OpenModel>>();

  /** @param budget bytes of weights, as loadedBytes counts them. */
  constructor(device: NativeDevice, budget: number, options: ComponentOptions = {}) {
    this.#device = device;
    this.#options = options;
    this.#pool = new FilePool({ count: Number.POSITIVE_INFINITY, cost: budget });
    this.#adaptedBytes = budget * ADAPTED.share;
  }

  /**
   * What a model is, before it is loaded; its files are read anew until it is.
   * @throws CheckpointError naming file and field or tensor.
   */
  async open(folder: NamedFolder): Promise<OpenModel> {
    const { dir } = folder;
    const loaded = this.#pool.peek(dir) as AdaptedModels | undefined;
    const known = loaded?.model ?? this.#opening.get(dir);
    if (known) return known;
    const opening = OpenModel.open(folder, this.#options).finally(() => this.#opening.delete(dir));
    this.#opening.set(dir, opening);
    return opening;
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
      const model = await Model.load(folder, this.#device, room, this.#options);
      const value = new AdaptedModels(model, { count: ADAPTED.count, cost: this.#adaptedBytes });
      const dispose = async () => {
        await value.dispose();
        await model.dispose();
      };
      return { value, cost: model.bytes, dispose };
    };
    return this.#pool.use(folder.dir, load, (model) => (model as AdaptedModels).use(adapters, work));
  }

  /**
   * What a ControlNet is, before it is loaded.
   * @throws CheckpointError naming file and field or tensor.
   */
  async openControlNet({ dir }: NamedFolder): Promise<Component<ControlNetConfig>> {
    const loaded = this.#pool.peek(dir) as ControlNet | undefined;
    return loaded?.component ?? openControlNet(dir, this.#options);
  }

  /**
   * Runs `work` with a ControlNet, which is loaded when it is not there.
   * @throws CheckpointError naming file and field or tensor.
   */
  useControlNet<R>({ dir }: NamedFolder, work: (net: ControlNet) => Promise<R>): Promise<R> {
    const load = async (room: Room) => {
      // Its files may have changed while the request waited.
      const component = await openControlNet(dir, this.#options);
      await room(component.bytes);
      const value = await ControlNet.load(component, this.#device);
      return { value, cost: component.bytes, dispose: () => value.dispose() };
    };
    return this.#pool.use(dir, load, (net) => work(net as ControlNet));
  }

  /** Whether the model or ControlNet of that folder is there. */
  isLoaded(dir: string): boolean {
    return this.#pool.has(dir);
  }

  /** Of the weights of all that are there, counted likewise. */
  get bytes(): number {
    return this.#pool.cost;
  }

  /** Lets go of everything that is not in use. */
  async dispose(): Promise<void> {
    await this.#pool.clear();
  }
}
