import type { Plan } from '../graph/plan.ts';
import type {
  InputValue,
  NativeDevice,
  NativeProgram,
  NativeTensor,
  NativeWeights,
  RunOptions,
} from '../native.ts';
import { Pool, type PoolLimits } from './pool.ts';

export type Outputs = Record<string, Float32Array | NativeTensor>;

/** Programs of one model kept compiled, and bytes of their arenas. */
const limits: PoolLimits = { count: 32, cost: 2 * 2 ** 30 };

/** The programs of one component on one device, compiled for each shape when it first comes. */
export class Programs {
  readonly #device: NativeDevice;
  readonly #weights: NativeWeights;
  readonly #pool: Pool<NativeProgram>;

  constructor(device: NativeDevice, weights: NativeWeights, pool = programPool()) {
    this.#device = device;
    this.#weights = weights;
    this.#pool = pool;
  }

  /**
   * Runs the program of `key`, which stands for component and shape.
   * @param plan makes its plan, when it is not compiled yet.
   */
  run(
    key: string,
    plan: () => Plan,
    inputs: Record<string, InputValue>,
    options?: RunOptions,
  ): Promise<Outputs> {
    const compile = async () => {
      const traced = plan();
      const program = await this.#device.compile(traced, this.#weights);
      return { value: program, cost: traced.arenaBytes, dispose: () => program.dispose() };
    };
    return this.#pool.use(key, compile, (program) => program.run(inputs, options));
  }

  /** Frees programs, then weights, after the runs in flight. */
  async dispose(): Promise<void> {
    await this.#pool.clear();
    await this.#weights.dispose();
  }
}

/** One for the components of a model: they share the bound. */
export function programPool(): Pool<NativeProgram> {
  return new Pool(limits);
}
