import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { planFlops } from '../sidecar/graph/planner.ts';
import {
  type InputValue,
  type NativeDevice,
  type NativeProgram,
  native,
  type Precision,
} from '../sidecar/native.ts';
import { TorchGenerator } from '../sidecar/random/torch.ts';
import { relativeL2 } from '../test/support/compare.ts';
import { type GpuModule, gpuModules, gpuPipelines, planOf, randomWeights } from './gpu-cases.ts';
import { circumstances, textTable, whole } from './report.ts';
import { ROOT } from './root.ts';
import { median } from './statistics.ts';

interface Options {
  device: string;
  dtype: Precision;
  cases?: string[];
  runs: number;
  python?: string;
  json: string;
}

/** Milliseconds; null where it was not measured. */
export interface GpuCase {
  ours_ms: number;
  vendor_ms: number | null;
  torch_eager_ms: number | null;
  torch_compile_ms: number | null;
  /** What the floating-point operations alone take at 790 TFLOP/s, an H200's measured rate. */
  t0_ms: number;
  /** Relative L2 error against the same module in float32. Null for pipelines. */
  relative_error: number | null;
}

const RATE = 790e12;
const OUTPUT = join(ROOT, 'bench/results/gpu.json');

/** `npm run bench:gpu`: the modules and pipelines of docs/kernels.md on a GPU, beside torch on the same. */
export function gpuCommand(): Command {
  return new Command('gpu')
    .description('time modules and pipelines of full size on a GPU; writes nothing where there is none')
    .option('--device <id>', 'which GPU', 'cuda:0')
    .option('--dtype <name>', 'f16 or bf16', 'f16')
    .option('--cases <names>', 'modules, by commas (default: all)', (text) => text.split(','))
    .option('--runs <n>', 'timed runs, after three that are not', whole, 20)
    .option('--python <path>', 'a Python with torch and diffusers: compare with torch on the same GPU')
    .option('--json <file>', 'where the result goes', OUTPUT)
    .action(run);
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
  const cases: Record<string, GpuCase> = {};
  for (const name of names) {
    const module = gpuModules[name]!();
    cases[name] = { ...(await measure(module, options)), ...torch(name, module, options) };
    console.error(`${name}: ${cases[name].ours_ms.toFixed(2)} ms`);
  }
  for (const [name, parts] of Object.entries(gpuPipelines))
    if (parts.every(([module]) => cases[module])) cases[name] = await pipeline(parts, cases, options);
  const report = {
    device: gpu!.name,
    driver: driver(),
    commit,
    date,
    command: line,
    dtype: options.dtype,
    cases,
  };
  console.error(table(cases));
  writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
}

const randn = (n: number) => new TorchGenerator(0).randn(n);

interface Ready {
  program: NativeProgram;
  inputs: Record<string, InputValue>;
  output: string;
}

/** A module on a device, its inputs made: those that other plans compute are left there. */
async function prepare(device: NativeDevice, { before, timed }: GpuModule, dtype: Precision): Promise<Ready> {
  const weights = await device.loadWeights(randomWeights([...before, timed]));
  const plan = planOf(timed);
  const inputs: Record<string, InputValue> = {};
  for (const graph of before) {
    const earlier = planOf(graph);
    const program = await device.compile(earlier, weights, { dtype });
    const given = earlier.inputs.map(({ name, shape }) => [name, valuesOf(name, shape)]);
    const keep = earlier.outputs.map(({ name }) => name);
    Object.assign(inputs, await program.run(Object.fromEntries(given), { keep }));
    await program.dispose();
  }
  for (const { name, shape } of plan.inputs) inputs[name] ??= valuesOf(name, shape);
  for (const name of Object.keys(inputs))
    if (!plan.inputs.some((input) => input.name === name)) delete inputs[name];
  return { program: await device.compile(plan, weights, { dtype }), inputs, output: plan.outputs[0]!.name };
}

function valuesOf(name: string, shape: number[]): Float32Array {
  const n = shape.reduce((a, b) => a * b, 1);
  if (name === 'timestep') return new Float32Array(n).fill(501);
  if (name === 'time_ids' || name === 'scale') return new Float32Array(n).fill(1);
  return randn(n);
}

async function measure(module: GpuModule, { device: id, dtype, runs }: Options) {
  const device = await native().open({ device: id, dtype });
  const { program, inputs, output } = await prepare(device, module, dtype);
  const times: number[] = [];
  let last = new Float32Array();
  for (let i = -3; i < runs; i++) {
    const began = performance.now();
    last = (await program.run(inputs))[output] as Float32Array<ArrayBuffer>;
    if (i >= 0) times.push(performance.now() - began);
  }
  await program.dispose();
  const exact = await prepare(device, module, 'f32');
  const expected = (await exact.program.run(exact.inputs))[output] as Float32Array;
  await device.dispose();
  return {
    ours_ms: median(times),
    vendor_ms: null,
    t0_ms: (planFlops(planOf(module.timed)) / RATE) * 1000,
    relative_error: relativeL2(last, expected),
  };
}

/** Evaluations one after another, as a picture needs them; the medians of torch's modules are added up. */
async function pipeline(
  parts: [string, number][],
  cases: Record<string, GpuCase>,
  options: Options,
): Promise<GpuCase> {
  const device = await native().open({ device: options.device, dtype: options.dtype });
  const ready: [Ready, number][] = [];
  for (const [name, times] of parts)
    ready.push([await prepare(device, gpuModules[name]!(), options.dtype), times]);
  const once = async () => {
    for (const [{ program, inputs }, times] of ready)
      for (let i = 0; i < times; i++) await program.run(inputs);
  };
  const times: number[] = [];
  for (let i = -1; i < Math.ceil(options.runs / 4); i++) {
    const began = performance.now();
    await once();
    if (i >= 0) times.push(performance.now() - began);
  }
  await device.dispose();
  const sum = (key: 't0_ms' | 'torch_eager_ms' | 'torch_compile_ms') => {
    const each = parts.map(([name, times]) =>
      cases[name]![key] === null ? Number.NaN : cases[name]![key]! * times,
    );
    const all = each.reduce((a, b) => a + b, 0);
    return Number.isNaN(all) ? null : all;
  };
  return {
    ours_ms: median(times),
    vendor_ms: null,
    torch_eager_ms: sum('torch_eager_ms'),
    torch_compile_ms: sum('torch_compile_ms'),
    t0_ms: sum('t0_ms')!,
    relative_error: null,
  };
}

function torch(name: string, { kind, config, timed }: GpuModule, { python, runs, dtype, device }: Options) {
  const none = { torch_eager_ms: null, torch_compile_ms: null };
  if (!python) return none;
  const shape = timed.inputs.get(kind === 'vae' ? 'latents' : 'sample')!.shape;
  const args = [
    kind,
    join(ROOT, `test/fixtures/configs/${config}.json`),
    shape.join(','),
    dtype,
    String(runs),
  ];
  const script = join(ROOT, 'bench/torch_gpu.py');
  const { status, stdout } = spawnSync(python, [script, ...args, device], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status === 0) return JSON.parse(stdout.trim().split('\n').at(-1)!) as typeof none;
  console.error(`${name}: ${python} ${script} failed; torch is left out`);
  return none;
}

function driver(): string {
  const { stdout } = spawnSync('nvidia-smi', ['--query-gpu=driver_version', '--format=csv,noheader'], {
    encoding: 'utf8',
  });
  return stdout?.split('\n')[0]?.trim() ?? '';
}

function table(cases: Record<string, GpuCase>): string {
  const cell = (ms: number | null) => (ms === null ? '' : ms.toFixed(2));
  return textTable(
    ['case', 'ours ms', 'torch eager', 'torch.compile', 'T0', 'T0 / ours', 'error'],
    Object.entries(cases).map(([name, c]) => [
      name,
      cell(c.ours_ms),
      cell(c.torch_eager_ms),
      cell(c.torch_compile_ms),
      cell(c.t0_ms),
      (c.t0_ms / c.ours_ms).toFixed(2),
      c.relative_error?.toExponential(1) ?? '',
    ]),
  );
}
