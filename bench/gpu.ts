import { spawnSync } from 'node:child_process';
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { native, type Precision } from '../sidecar/native.ts';
import { gpuBatches, gpuModules, gpuParts, gpuPipelines } from './gpu-cases.ts';
import { type GpuCase, pipelineRuns } from './gpu-measure.ts';
import { writeGpuPage } from './gpu-page.ts';
import {
  GPU_RESULT,
  type GpuReport,
  readReport,
  resumed,
  type TorchColumns,
  withTorchOf,
} from './gpu-report.ts';
import { type CompileMode, runTable, torchVersion } from './gpu-run.ts';
import { circumstances, textTable, whole } from './report.ts';

interface Options {
  device: string;
  dtype: Precision;
  cases?: string[];
  runs: number;
  settle: number;
  python?: string;
  torch: ('eager' | 'compile')[];
  torchCompile: CompileMode;
  torchSeconds: number;
  torchFrom?: string;
  resume?: boolean;
  json: string;
}

/** `npm run bench:gpu`: modules and pipelines of full size on a GPU, beside torch and the vendors on the same. */
export function gpuCommand(): Command {
  return new Command('gpu')
    .description('time modules and pipelines of full size on a GPU; writes nothing where there is none')
    .option('--device <id>', 'which GPU', 'cuda:0')
    .addOption(new Option('--dtype <name>', 'what to compute in').choices(['f16', 'bf16']).default('f16'))
    .option('--cases <names>', 'modules, by commas (default: all)', (text) => text.split(','))
    .option('--runs <n>', 'timed runs, after three that are not', whole, 20)
    .option('--settle <ms>', 'those take so long at least', whole, 500)
    .option('--python <path>', 'a Python with torch: compare with torch on the same GPU')
    .option('--torch <modes>', 'of eager and compile, by commas', modes, modes('eager,compile'))
    .addOption(
      new Option('--torch-compile <mode>', 'of torch.compile; max-autotune may take very long')
        .choices(['reduce-overhead', 'max-autotune'])
        .default('reduce-overhead'),
    )
    .option('--torch-seconds <n>', "for each of torch's measurements; compiling takes minutes", whole, 600)
    .addOption(
      new Option(
        '--torch-from <file>',
        "keep torch's columns of another result of the same GPU, of whichever commit",
      ).conflicts('python'),
    )
    .option(
      '--resume',
      'keep what the result has, if of the same commit and in the same way; measure the rest',
    )
    .option('--json <file>', 'where the result goes, after every case', GPU_RESULT)
    .action(run);
}

/** `npm run bench -- gpu-page`: docs/gpu.md out of the result. */
export function gpuPageCommand(): Command {
  return new Command('gpu-page')
    .description('write docs/gpu.md and its plot out of bench/results/gpu.json')
    .action(() => writeGpuPage(GPU_RESULT));
}

function modes(text: string): ('eager' | 'compile')[] {
  const known = ['eager', 'compile'] as const;
  if (!text.split(',').every((mode) => known.some((each) => each === mode)))
    throw new InvalidArgumentError('Expected eager, compile or both.');
  return known.filter((mode) => text.split(',').includes(mode));
}

async function run(options: Options, command: Command): Promise<void> {
  const devices = native().devices();
  const gpu = devices.find(({ id, threads }) => id === options.device && threads === 0);
  if (!gpu)
    command.error(
      `There is no GPU ${options.device} here, only ${devices.map(({ id }) => id).join(', ')}: nothing is measured or written`,
    );
  const names = options.cases ?? Object.keys(gpuModules);
  const unknown = names.find((name) => !Object.hasOwn(gpuModules, name));
  if (unknown)
    command.error(`Expected ${Object.keys(gpuModules).join(', ')} for --cases but received ${unknown}`);

  const { date, commit, command: line } = circumstances();
  const { torchFrom, resume, json } = options;
  // It would be lost with the first case that is saved.
  if (torchFrom && resolve(torchFrom) === resolve(json))
    command.error(`Expected another file for --torch-from than the result's, ${json}`);
  const other = torchFrom ? orEnd(command, '--torch-from', () => readReport(torchFrom)) : undefined;
  const torch = torchColumns(command, options);
  let report: GpuReport = {
    device: gpu!.name,
    driver: driver(),
    commit,
    date,
    command: line,
    runs: options.runs,
    pipelines: pipelineRuns(options),
    settle: options.settle,
    ...(torch && { torch }),
    dtype: options.dtype,
    cases: {},
    batches: {},
  };
  if (other) report = orEnd(command, `--torch-from ${torchFrom}`, () => withTorchOf(report, other));
  if (resume && existsSync(json))
    report = orEnd(command, `--resume ${json}`, () => resumed(report, readReport(json)));
  // Batches go with the whole table.
  const batches = options.cases ? {} : gpuBatches;
  const table = { modules: gpuModules, parts: gpuParts, pipelines: gpuPipelines, batches };
  const save = () => {
    // Whole or not at all: this process may be ended at any time.
    writeFileSync(`${json}.part`, `${JSON.stringify(report, null, 2)}\n`);
    renameSync(`${json}.part`, json);
  };
  await runTable(table, { ...options, names, torchOf: other?.cases }, report.cases, save, report.batches);
  console.error(tableOf(report.cases));
}

/** What `act` gives; its error as the command's. */
function orEnd<T>(command: Command, option: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    command.error(`${option}: ${(error as Error).message}`);
  }
}

function torchColumns(command: Command, { python, torch, torchCompile }: Options): TorchColumns | undefined {
  if (!python) return undefined;
  const version = orEnd(command, `--python ${python}`, () => torchVersion(python));
  return torch.includes('compile') ? { version, compile: torchCompile } : { version };
}

function driver(): string {
  const { stdout } = spawnSync('nvidia-smi', ['--query-gpu=driver_version', '--format=csv,noheader'], {
    encoding: 'utf8',
  });
  return stdout?.split('\n')[0]?.trim() ?? '';
}

function tableOf(cases: Record<string, GpuCase>): string {
  const cell = (ms: number | null) => (ms === null ? '' : ms.toFixed(2));
  return textTable(
    ['case', 'ours ms', 'vendors', 'torch eager', 'torch.compile', 'T0', 'T0 / ours', 'error'],
    Object.entries(cases).map(([name, c]) => [
      name,
      cell(c.ours_ms),
      cell(c.vendor_ms),
      cell(c.torch_eager_ms),
      cell(c.torch_compile_ms),
      cell(c.t0_ms),
      (c.t0_ms / c.ours_ms).toFixed(2),
      c.relative_error?.toExponential(1) ?? '',
    ]),
  );
}
