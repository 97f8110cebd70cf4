import { CheckpointError } from '../checkpoints/error.ts';
import type { Plan } from '../graph/plan.ts';
import type {
  InputValue,
  NativeDevice,
  NativeProgram,
  NativeTensor,
  NativeWeights,
  RunOptions,
  WeightDelta,
} from '../native.ts';
import { Pool, type PoolLimits } from './pool.ts';

export type Outputs = Record<string, Float32Array | NativeTensor>;

/** Programs of one model kept compiled, and bytes of their arenas. */
const limits: PoolLimits = { count: 32, cost: 2 * 2 ** 30 };

/** The programs of one component on one device, compiled for each shape when it first comes. */
export class Programs {
  readonly #device: NativeDevice;
  readonly #weights: NativeWeights;
  readonly #name: string;
  readonly #dir: string;
  readonly #pool: Pool<NativeProgram>;

  /**
   * @param part the component's name, unique in the pool, and where its weights come from, for messages.
   */
  constructor(
    device: NativeDevice,
    weights: NativeWeights,
    part: { name: string; dir: string },
    pool: Pool<NativeProgram>,
  ) {
    this.#device = device;
    this.#weights = weights;
    this.#name = part.name;
    this.#dir = part.dir;
    this.#pool = pool;
  }

  /**
   * Runs the program of `key`, which stands for what it does and the shape.
   * @param plan makes its plan, when it is not compiled yet.
   * @throws CheckpointError for weights that cannot be used, NaN among them.
   */
  run(
    key: string,
    plan: () => Plan,
    inputs: Record<string, InputValue>,
    options?: RunOptions,
  ): Promise<Outputs> {
    const compile = async () => {
      const traced = plan();
      const program = await this.#device.compile(traced, this.#weights).catch((error: Error) => {
        throw / weight "/.test(error.message) ? unusable(error, this.#dir) : error;
      });
      return { value: program, cost: traced.arenaBytes, dispose: () => program.dispose() };
    };
    return this.#pool.use(`${this.#name} ${key}`, compile, (program) => program.run(inputs, options));
  }

  /** The same component with deltas on top of its weights, which are shared where none touches them. */
  async adapted(deltas: WeightDelta[], files: string[], pool: Pool<NativeProgram>): Promise<Programs> {
    const weights = await this.#device.loadWeights([], { base: this.#weights, deltas });
    const dir = [this.#dir, ...files].join(' with ');
    return new Programs(this.#device, weights, { name: this.#name, dir }, pool);
  }

  /** Frees programs, then weights, after the runs in flight. */
  async dispose(): Promise<void> {
    await this.#pool.clear();
    await this.#weights.dispose();
  }
}

function unusable(error: Error, file: string): CheckpointError {
  return new CheckpointError(`${error.message}, in ${file}`, { file, cause: error });
}

/** One for the components of a model: they share the bound. */
export function programPool(): Pool<NativeProgram> {
  return new Pool(limits);
}
