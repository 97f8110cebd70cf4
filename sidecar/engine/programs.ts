import { CheckpointError } from '../checkpoints/error.ts';
import type { Plan } from '../graph/plan.ts';
import {
  type InputValue,
  type NativeDevice,
  type NativeProgram,
  type NativeTensor,
  type NativeWeights,
  nativeCode,
  type Precision,
  type RunOptions,
  type WeightDelta,
  type WeightSource,
} from '../native.ts';
import { loadingOf, weightBytes } from './admission/loading.ts';
import { allFinite } from './finite.ts';
import { Pool, type PoolLimits, type Room } from './pool.ts';

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
  /** Whether its own weights are yet to be packed, which the first program does. */
  #isFresh = false;

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
   * Loads a component's weights.
   * @throws CheckpointError for weights that cannot be used.
   */
  static async load(
    device: NativeDevice,
    sources: WeightSource[],
    part: { name: string; dir: string },
    pool: Pool<NativeProgram>,
  ): Promise<Programs> {
    const weights = await device.loadWeights(sources).catch((error: Error) => explain(error, part.dir));
    const programs = new Programs(device, weights, part, pool);
    programs.#isFresh = true;
    return programs;
  }

  /**
   * Runs the program of `key`, which stands for what it does and the shape.
   * @param plan makes its plan, when it is not compiled yet.
   * @param dtype to compute in; default: the device's own.
   * @throws CheckpointError for weights that cannot be used, NaN among them.
   */
  run(
    key: string,
    plan: () => Plan,
    inputs: Record<string, InputValue>,
    options?: RunOptions,
    dtype?: Precision,
  ): Promise<Outputs> {
    const compile = async (room: Room) => {
      const traced = plan();
      await room(traced.arenaBytes);
      const began = performance.now();
      const program = await this.#device
        .compile(traced, this.#weights, { dtype })
        .catch((error: Error) => explain(error, this.#dir));
      if (this.#isFresh) loadingOf(this.#device).add(weightBytes(traced), performance.now() - began);
      this.#isFresh = false;
      return { value: program, cost: traced.arenaBytes, dispose: () => program.dispose() };
    };
    const name = [this.#name, key, ...(dtype ? [dtype] : [])].join(' ');
    return this.#pool.use(name, compile, (program) => program.run(inputs, options));
  }

  /**
   * The same, of outputs that half precision may not hold: where a device computes in less than float32 and one of them
   * has NaN or infinity, all are computed once more in float32.
   * @param isWide whether to do so from the start.
   */
  async runFinite(
    key: string,
    plan: () => Plan,
    inputs: Record<string, InputValue>,
    isWide = false,
  ): Promise<{ outputs: Record<string, Float32Array>; isRepeated: boolean }> {
    const run = async (dtype?: Precision) =>
      (await this.run(key, plan, inputs, undefined, dtype)) as Record<string, Float32Array>;
    if (this.dtype === 'f32') return { outputs: await run(), isRepeated: false };
    if (isWide) return { outputs: await run('f32'), isRepeated: false };
    const outputs = await run();
    if (Object.values(outputs).every(allFinite)) return { outputs, isRepeated: false };
    return { outputs: await run('f32'), isRepeated: true };
  }

  /** Whether the program of `key` is compiled. */
  isCompiled(key: string): boolean {
    return this.#pool.has(`${this.#name} ${key}`);
  }

  /** What the device computes in. */
  get dtype(): Precision {
    return this.#device.info.dtype;
  }

  /** The same component with deltas on top of its weights, which are shared where none touches them. */
  async adapted(deltas: WeightDelta[], files: string[], pool: Pool<NativeProgram>): Promise<Programs> {
    const dir = [this.#dir, ...files].join(' with ');
    const weights = await this.#device
      .loadWeights([], { base: this.#weights, deltas })
      .catch((error: Error) => explain(error, dir));
    return new Programs(this.#device, weights, { name: this.#name, dir }, pool);
  }

  /**
   * The same component with others' weights beside its own, each under a prefix of their names; all are shared, and
   * have to live as long.
   * @param name unique in the pool.
   */
  async beside(name: string, others: Record<string, Programs>): Promise<Programs> {
    const all = Object.entries(others);
    const under = Object.fromEntries(all.map(([prefix, other]) => [prefix, other.#weights]));
    const dir = [this.#dir, ...all.map(([, other]) => other.#dir)].join(' with ');
    const weights = await this.#device.loadWeights([], { base: this.#weights, under });
    return new Programs(this.#device, weights, { name, dir }, this.#pool);
  }

  /** Frees its programs, then its weights, after the runs in flight. */
  async dispose(): Promise<void> {
    await this.#pool.clear((key) => key.startsWith(`${this.#name} `));
    await this.#weights.dispose();
  }
}

function explain(error: Error, file: string): never {
  if (nativeCode(error) !== 'ERR_BAD_WEIGHTS') throw error;
  throw new CheckpointError(`${error.message}, in ${file}`, { file, cause: error });
}

/** One for the components of a model: they share the bound. */
export function programPool(): Pool<NativeProgram> {
  return new Pool(limits);
}
