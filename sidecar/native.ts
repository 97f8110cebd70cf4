import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Plan } from './graph/plan.ts';

/** One device this build of the addon can open. */
export interface DeviceInfo {
  /** `cpu`, `cuda:0`, …; `cpu-reference` runs every op's plain loop, the oracle of the tests. */
  id: string;
  name: string;
  /** Instruction set or architecture in use: `avx512`, `avx2`, `neon`, `baseline`, `sm_90`. */
  arch: string;
  /** Of a GPU: the CUDA version that its driver knows, as `CUDA 13.0`. */
  driver?: string;
  /** CPU threads; 0 on a GPU. */
  threads: number;
  memoryBytes: number;
  /** That it computes in, unless a program says otherwise. */
  dtype: Precision;
}

/** Of activations. Borders of plans are float32 all the same. */
export type Precision = 'f32' | 'f16' | 'bf16';

/** Who computes products on a GPU: our own kernels, a vendor's libraries wherever they can, or whoever is faster. */
export type Providers = 'hand' | 'vendor' | 'auto';

export interface OpenOptions {
  device: string;
  /** CPU threads, 1…256; default: one for each physical core this process may use. */
  threads?: number;
  /** At most so much of a GPU's memory (default: all): what would take more is an ERR_OUT_OF_MEMORY. */
  memoryBytes?: number;
  /** On a GPU; default: hand. What libraries there are is looked for now. */
  providers?: Providers;
  /** Where `auto` keeps who was faster, by device, driver, libraries and shape; default: nowhere. Its folder exists. */
  choicesFile?: string;
  /** Fill each arena with NaN before every run, so that a read of memory no op has written shows. */
  poison?: boolean;
  /**
   * What to compute in; default: the device's own. On a CPU each op still computes in float32, and its output is rounded
   * (to nearest, ties to even; what is too large becomes infinite): what a device of that precision is measured by.
   */
  dtype?: Precision;
  /** Tests: the device is lost after so many runs, as a GPU can be. */
  loseAfter?: number | undefined;
  /** Tests: likewise, but the run that comes then never ends. */
  hangAfter?: number | undefined;
}

/** A tensor in a file, by bytes, or in memory (tests, adapters). */
export type WeightSource = {
  name: string;
  shape: number[];
  /** There it is a matrix [K, N] where `shape` is [N, K]. */
  transposed?: boolean;
  /**
   * Whether a CPU's products keep it, with its deltas, in 8 bits: w ≈ scale·q, |q| ≤ 127, with a scale for each output
   * channel, the largest |w| there over 127. Elsewhere it means nothing.
   */
  int8?: boolean;
} & ({ dtype: 'F32' | 'F16' | 'BF16'; file: string; offset: number } | { dtype: 'F32'; data: Float32Array });

/**
 * A matrix, or convolution, of an adapter: as it is, or as a product up [N,r] · down [r,…]; with `mid` [r,s,kh,kw] in
 * between, up [N,r] · mid · down [s,K] for each tap.
 */
export type DeltaFactor =
  | { whole: WeightSource }
  | { up: WeightSource; down: WeightSource; mid?: WeightSource };

/** What an adapter adds to a weight: W += scale · Δ, in float32. */
export interface WeightDelta {
  /** The weight's name. */
  weight: string;
  scale: number;
  /** Δ itself; with `combine` two factors of it. */
  factors: DeltaFactor[];
  /** Product of the factors, element by element (LoHa) or as blocks (LoKr). */
  combine?: 'hadamard' | 'kronecker';
}

export interface LoadOptions {
  /** What the sources and deltas come on top of. Weights that neither touches are shared with it, also once packed. */
  base?: NativeWeights;
  /** Weights that are shared too, each under a prefix of their names: a U-Net as `base`, a ControlNet as `control.0.`. */
  under?: Record<string, NativeWeights>;
  deltas?: WeightDelta[];
}

/** Bytes, by what they are for. */
export interface MemoryAccount {
  weights: number;
  arenas: number;
  tensors: number;
  scratch: number;
}

/** A buffer that stays on its device: an output of one program that is an input of another. */
export interface NativeTensor {
  readonly shape: number[];
  readonly bytes: number;
  dispose(): void;
}

/** Values of one input, or some of its rows. */
export type InputPart = Float32Array | Int32Array | NativeTensor;

/**
 * An input; or a list of parts whose rows (the first dimension), one after the other, make it: so a batch is put together
 * of what lies on the device. A tensor's other dimensions have to be the input's; one may come several times.
 */
export type InputValue = InputPart | readonly InputPart[];

export interface RunOptions {
  /** Outputs to leave on the device, by name: they come back as NativeTensor. */
  keep?: string[];
  /** Stop after this op (index into plan.ops) and return its output alone, named `until`. */
  until?: number;
}

export interface CompileOptions {
  /** What to compute in; default: what the device was opened with. */
  dtype?: Precision;
}

export interface NativeProgram {
  /**
   * Runs the plan. Arrays are copied before the promise is returned; every input of the plan must be given, with exactly
   * its element count. Runs of one device happen in the order of the calls.
   */
  run(
    inputs: Record<string, InputValue>,
    options?: RunOptions,
  ): Promise<Record<string, Float32Array | NativeTensor>>;
  /** Frees the arena after the runs in flight. Idempotent. */
  dispose(): Promise<void>;
}

export interface NativeWeights {
  /** Unmaps the files and drops what was packed, once no program and no weights on top use it. Idempotent. */
  dispose(): Promise<void>;
}

export interface NativeDevice {
  readonly info: DeviceInfo;
  memory(): MemoryAccount;
  /** Who computes each product that there was a choice for: `hand`, or a library's name and version, by shape. */
  choices(): Promise<Record<string, string>>;
  /**
   * Maps the files; each tensor is converted, with its deltas merged, and packed when a plan first needs it, then
   * shared. A delta that fits no weight is an error here.
   */
  loadWeights(sources: WeightSource[], options?: LoadOptions): Promise<NativeWeights>;
  /** Binds a plan to weights: shapes are checked, weights packed, the arena allocated. */
  compile(plan: Plan, weights: NativeWeights, options?: CompileOptions): Promise<NativeProgram>;
  /** Waits for runs in flight, then frees everything of this device. Idempotent. */
  dispose(): Promise<void>;
}

const codes = ['ERR_OUT_OF_MEMORY', 'ERR_BAD_WEIGHTS', 'ERR_DEVICE_LOST'] as const;

/**
 * `code` of errors that callers tell apart: no memory left; weights, or a file of them, that cannot be used; a device
 * that answers everything with this error from now on, in this process.
 */
export type NativeErrorCode = (typeof codes)[number];

/** The code of an error of the addon's, if it has one. */
export function nativeCode(error: unknown): NativeErrorCode | undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return codes.find((known) => known === code);
}

/** Of the driver of GPUs, which starts as it is first asked. */
export interface DriverStart {
  /** Milliseconds that it may take; default: a minute. */
  patienceMs?: number | undefined;
  /** Tests: it hangs, as a driver can. */
  hang?: boolean;
}

/** Which devices are listed. */
export interface Listing extends DriverStart {
  /** False: CPUs alone, for which no driver starts; default: GPUs too. */
  gpus?: boolean;
}

/** The addon: five verbs (devices, open, loadWeights, compile, run). */
export interface NativeAddon {
  /** @throws Error with ERR_DEVICE_LOST where the driver of GPUs does not answer in time; so is every GPU's opening then. */
  devices(listing?: Listing): DeviceInfo[];
  open(options: OpenOptions): Promise<NativeDevice>;
}

let loaded: NativeAddon | undefined;

/**
 * Loads the addon on first use.
 * @throws Error naming the build command when it has not been built.
 */
export function native(): NativeAddon {
  loaded ??= load();
  return loaded;
}

function load(): NativeAddon {
  const require = createRequire(import.meta.url);
  // From sources (sidecar/) and from the build (dist/sidecar/).
  const built = ['..', '../..'].map((up) =>
    fileURLToPath(new URL(`${up}/cuda/build/latent_edge.node`, import.meta.url)),
  );
  const named = process.env.LATENT_EDGE_ADDON;
  const tried = named ? [resolve(named)] : built;
  const file = tried.find((path) => existsSync(path));
  if (file) return require(file) as NativeAddon;
  throw new Error(
    `The native addon is not built: looked for ${tried.join(' and ')}. Build it with: npm run build:native`,
  );
}
