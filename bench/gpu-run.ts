import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { GpuModule } from './gpu-cases.ts';
import {
  type GpuCase,
  type MeasureOptions,
  measureModule,
  measureOurs,
  measurePipeline,
} from './gpu-measure.ts';
import { ROOT } from './root.ts';

export interface GpuTable {
  /** Timed by themselves. */
  modules: Record<string, () => GpuModule>;
  /** What pipelines have beside them. */
  parts: Record<string, () => GpuModule>;
  pipelines: Record<string, [module: string, times: number][]>;
  /** Timed at several numbers of rows, by our kernels alone. */
  batches?: Record<string, { sizes: number[]; of: (batch: number) => GpuModule }>;
}

/** Milliseconds by name and rows. */
export type Batches = Record<string, Record<number, number>>;

export interface RunOptions extends MeasureOptions {
  /** Modules; pipelines of these alone are timed. */
  names: string[];
  /** With torch: compare with it. */
  python?: string;
  /** Cases that have torch's columns: nothing of torch is measured. */
  torchOf?: Cases | undefined;
  /** Default: both. */
  torch?: readonly Mode[];
  /** Of torch.compile; default: reduce-overhead. */
  torchCompile?: CompileMode;
  /** Seconds that one of torch's measurements may take. */
  torchSeconds: number;
}

type Cases = Record<string, GpuCase>;
type Mode = 'eager' | 'compile';
export type CompileMode = 'reduce-overhead' | 'max-autotune';

/**
 * Measures what `cases` does not have yet, what is worth most first: our modules, pipelines, torch as it is, and compiled,
 * which takes minutes. `save` is called whenever there is more.
 */
export async function runTable(
  { modules, parts, pipelines, batches = {} }: GpuTable,
  options: RunOptions,
  cases: Cases,
  save: () => void,
  measured: Batches = {},
): Promise<void> {
  const all = { ...modules, ...parts };
  // A part that is not timed by itself goes with the others of its pipeline.
  const wanted = Object.entries(pipelines).filter(([, list]) =>
    list.every(([module]) => options.names.includes(module) || module in parts),
  );
  const keep = () => {
    for (const [name, list] of wanted) if (cases[name]) addUp(cases, name, list);
    save();
  };
  const done = (name: string, ms: number | null, what: string) => {
    console.error(`${name}: ${what} ${ms === null ? 'not measured' : `${ms.toFixed(2)} ms`}`);
    keep();
  };
  for (const name of options.names)
    if (!cases[name]) {
      cases[name] = await measureModule(modules[name]!(), options);
      done(name, cases[name].ours_ms, 'ours');
    }
  for (const [name, list] of wanted)
    if (!cases[name]) {
      const pipeline = await measurePipeline(
        list.map(([module, times]) => [all[module]!(), times]),
        options,
      );
      cases[name] = {
        ...pipeline,
        ...{ vendor_ms: null, torch_eager_ms: null, torch_compile_ms: null, relative_error: null },
      };
      done(name, pipeline.ours_ms, 'ours');
    }
  for (const [name, { sizes, of }] of Object.entries(batches))
    for (const batch of sizes)
      if (!measured[name]?.[batch]) {
        const ms = await measureOurs(of(batch), options);
        measured[name] = { ...measured[name], [batch]: ms };
        done(name, ms, `${batch} rows`);
      }
  for (const mode of options.torch ?? (['eager', 'compile'] as const)) {
    const key = `torch_${mode}_ms` as const;
    for (const name of options.names)
      if ((options.python || options.torchOf) && cases[name]![key] === null) {
        cases[name]![key] = options.torchOf
          ? (options.torchOf[name]?.[key] ?? null)
          : torch(modules[name]!(), mode, options);
        done(name, cases[name]![key], `torch ${mode}`);
      }
  }
}

/**
 * Torch's and the vendors' pipelines are their modules added up, where all were measured. Not the vendors' with a
 * ControlNet, which is measured otherwise than in a pipeline: as a plan of its own, with its residuals for outputs.
 */
function addUp(cases: Cases, name: string, list: [string, number][]): void {
  const isControlled = list.some(([module]) => module === 'sd15-unet-control-b2');
  // A U-Net with its ControlNet is both, for who runs them one after the other.
  const modules = list.flatMap(([module, times]): [string, number][] =>
    module === 'sd15-unet-control-b2'
      ? [
          ['sd15-unet-b2', times],
          ['controlnet-sd15-b2', times],
        ]
      : [[module, times]],
  );
  for (const key of ['vendor_ms', 'torch_eager_ms', 'torch_compile_ms'] as const) {
    if (isControlled && key === 'vendor_ms') continue;
    const sum = modules.reduce(
      (all, [module, times]) => all + times * (cases[module]?.[key] ?? Number.NaN),
      0,
    );
    if (!Number.isNaN(sum)) cases[name]![key] = sum;
  }
}

function torch({ kind, config, timed }: GpuModule, mode: Mode, options: RunOptions): number | null {
  const { python, runs, dtype, device, torchSeconds, torchCompile = 'reduce-overhead' } = options;
  const shape = timed.inputs.get(kind === 'vae' ? 'latents' : 'sample')!.shape;
  const script = join(ROOT, 'bench/torch_gpu.py');
  const on = device.startsWith('cuda') ? device : 'cpu';
  const { status, stdout } = spawnSync(
    python!,
    [script, kind, config, shape.join(','), dtype, String(runs), on, mode === 'eager' ? mode : torchCompile],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], timeout: torchSeconds * 1000 },
  );
  if (status === 0) return (JSON.parse(stdout.trim().split('\n').at(-1)!) as { ms: number }).ms;
  console.error(`${python} ${script} failed, or took more than ${torchSeconds} s`);
  return null;
}

/** @throws Error where that is no Python with torch. */
export function torchVersion(python: string): string {
  const { status, stdout, stderr, error } = spawnSync(
    python,
    ['-c', 'import torch; print(torch.__version__)'],
    { encoding: 'utf8' },
  );
  if (status === 0 && stdout.trim()) return stdout.trim();
  const reason = error?.message ?? stderr.trim().split('\n').at(-1);
  throw new Error(`Expected a Python with torch but received one that ended with ${status}: ${reason}`);
}
